"""Annotates a pull request with what scenariod found. Prints workflow commands, and succeeds whatever it finds.

Environment: FOLDER (of run.sh: log.txt and runs/), EXIT_CODE, FILES (the input, scenario files one a line), and GitHub's own
GITHUB_WORKSPACE, GITHUB_REPOSITORY, GITHUB_WORKFLOW_REF. Python's standard library is enough.
"""

import json
import os
import re
import sys
from pathlib import Path

# GitHub shows ten annotations of a kind for a step, and drops the others without a word.
MOST = 10
# Characters of one text.
TEXT_MAX = 1000
# What a criterion's result is for a reader of the pull request.
LEVELS = {"fail": "error", "wrong_data": "error", "inconclusive": "warning", "invalid": "warning"}


def plain(text):
    """One text for people: no control characters, not too long. Line ends stay."""
    text = "".join(c if c == "\n" or c.isprintable() else " " for c in str(text))
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"


def data(text):
    """The text of a workflow command, which ends with its line."""
    return plain(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def value(text):
    """The value of a property of a workflow command."""
    return data(text).replace(":", "%3A").replace(",", "%2C")


class Annotations:
    """Annotations by level, printed at the end."""

    def __init__(self):
        self.levels = {"error": [], "warning": [], "notice": []}

    def add(self, level, title, text, place=None):
        properties = {**(place or {}), "title": title}
        shown = ",".join(f"{name}={value(of)}" for name, of in properties.items())
        self.levels[level].append(f"::{level} {shown}::{data(text)}")

    def print(self):
        for level, lines in self.levels.items():
            if len(lines) > MOST:
                more = len(lines) - (MOST - 1)
                lines = lines[: MOST - 1]
                lines.append(f"::{level} title=scenariod::{more} more: see the job summary and the artifact")
            for line in lines:
                print(line)


def read(path):
    """An object of a JSON file; empty: it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def objects(found, key):
    """The objects of a list."""
    listed = found.get(key)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def in_workspace(file):
    """A path as annotations want it: from the root of the repository. `None`: it is outside."""
    root = Path(os.environ.get("GITHUB_WORKSPACE") or ".").resolve()
    try:
        return (root / file).resolve().relative_to(root).as_posix()
    except (OSError, ValueError):
        return None


def files():
    """The scenario files of the input, as they were written there."""
    return [line.strip() for line in os.environ.get("FILES", "").splitlines() if line.strip()]


def places():
    """File and line of each scenario that is in a file of the repository."""
    found = {}
    for file in files():
        path = in_workspace(file)
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            continue
        for number, line in enumerate(lines, 1):
            named = re.match(r"""\s*name\s*=\s*["']([^"']*)["']""", line)
            if named and path:
                found.setdefault(named[1], {"file": path, "line": number})
                break
    return found


def workflow():
    """The workflow that uses the action: the place of what is in no scenario file."""
    file, _, _ = os.environ.get("GITHUB_WORKFLOW_REF", "").partition("@")
    repository = os.environ.get("GITHUB_REPOSITORY", "") + "/"
    return {"file": file[len(repository) :]} if len(repository) > 1 and file.startswith(repository) else {}


def criteria(annotations, verdict, strongest, place):
    """An annotation for each criterion that failed or stayed open, of at most this level."""
    scenario = verdict.get("scenario", "?")
    for criterion in objects(verdict, "criteria"):
        result = str(criterion.get("result"))
        of_criterion = LEVELS.get(result)
        if of_criterion is None:
            continue
        title = f"{scenario}: {criterion.get('id')} {result.replace('_', ' ').upper()}"
        numbers = f"expected {criterion.get('expected')}, measured {criterion.get('measured')}"
        text = f"{criterion.get('title')}: {numbers}\nbecause {criterion.get('because')}"
        annotations.add(of_criterion if strongest == "error" else strongest, title, text, place)
    if verdict.get("stopped"):
        annotations.add("warning", f"{scenario}: STOPPED", verdict["stopped"], place)
    if verdict.get("advice"):
        annotations.add("notice", f"{scenario}: what to do", verdict["advice"], place)


def judged(annotations, folder):
    """Annotates all runs that count; gives their verdicts."""
    suites = [read(path) for path in sorted(folder.glob("*/suite.json"))]
    runs = [run for suite in suites for run in objects(suite, "runs")]
    repeated = [scenario for suite in suites for scenario in objects(suite, "repeated")]
    again = {run.get("dir") for run in runs if run.get("rerun")}
    passed = {scenario.get("scenario") for scenario in repeated if scenario.get("result") == "PASS"}
    paths = [path for path in sorted(folder.glob("*/verdict.json")) if path.parent.name not in again]
    # Without a suite one scenario was run, and again only if it was inconclusive: the last run counts.
    if not suites:
        paths = paths[-1:]
    where, elsewhere = places(), workflow()
    for run in runs:
        if run.get("result") == "ERROR":
            reasons = run.get("reasons") or ["no reason was written down"]
            place = where.get(run.get("scenario"), elsewhere)
            annotations.add("error", f"{run.get('scenario')}: could not be run", reasons[0], place)
    verdicts = [read(path) for path in paths]
    for path, verdict in zip(paths, verdicts):
        scenario = verdict.get("scenario")
        if not verdict:
            annotations.add("warning", "scenariod", f"{path.name} of {path.parent.name} cannot be read", elsewhere)
        # Of several runs of a scenario the majority counts.
        strongest = "warning" if scenario in passed else "error"
        criteria(annotations, verdict, strongest, where.get(scenario, elsewhere))
    return [verdict for verdict in verdicts if verdict]


def last_error(log):
    """What scenariod itself says of its end, and the place in a scenario file that it names."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    # An error in flags has further lines after the first; of several errors in the log the last is that of the end.
    said = [line for line in lines if line.startswith("error: ")][:1]
    said = said or [line.split(" ERROR ", 1)[1] for line in lines if " ERROR " in line][-1:]
    said = said or [line for line in lines if line.strip()][-1:]
    text = said[0] if said else "it said nothing"
    for file in files():
        at = re.match(re.escape(file) + r", line (\d+), column (\d+): ", text)
        if at and in_workspace(file):
            return text, {"file": in_workspace(file), "line": at[1], "col": at[2]}
    return text, workflow()


def ended(annotations, code, verdicts, log):
    """What the exit code says, where no criterion says it."""
    none = not any(annotations.levels.values())
    if code == "0":
        names = sorted({str(verdict.get("scenario")) for verdict in verdicts})
        runs = f"{len(verdicts)} run{'s' * (len(verdicts) != 1)}"
        annotations.add("notice", f"PASS: {runs}", ", ".join(names) or "exit code 0", workflow())
    elif code in ("1", "3", "5") and none:
        level = "warning" if code == "3" else "error"
        text = "see the job summary and the artifact"
        annotations.add(level, f"scenariod ended with exit code {code}", text, workflow())
    elif code not in ("1", "3", "5") and not annotations.levels["error"]:
        text, place = last_error(log)
        annotations.add("error", f"scenariod ended with exit code {code}", text, place)


def main():
    # Whatever is in a verdict can be printed.
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    folder = Path(os.environ["FOLDER"])
    annotations = Annotations()
    verdicts = judged(annotations, folder / "runs")
    ended(annotations, os.environ["EXIT_CODE"], verdicts, folder / "log.txt")
    annotations.print()


if __name__ == "__main__":
    main()
