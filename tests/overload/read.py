"""Reads what `loadgen overload` wrote, as another program would, and fails when something is not as documented."""

import pathlib
import re
import sys

import pandas as pd

PHASES = {
    "init", "warmup", "load_increase", "failure", "mitigation", "generator_check", "ramp", "bisection", "confirmation",
    "overload", "recovery", "mirror",
}


def metrics(folder):
    steps = pd.read_csv(folder / "gradual_overload_metrics.csv", dtype={"throughput_each_second": str})
    assert list(steps.step) == list(range(1, len(steps) + 1)), steps.step
    assert set(steps.phase) <= PHASES, set(steps.phase)
    if steps.empty:
        return steps
    assert steps.complete.dtype == bool, steps.complete.dtype
    numbers = [name for name in steps.columns if name.endswith(("_s", "_ms", "_rate"))]
    for name in numbers:
        assert pd.api.types.is_numeric_dtype(steps[name]), name
    whole = steps[steps.complete]
    assert (whole.measured_s > 0).all()
    assert (whole.latency_p99_ms <= whole.latency_max_ms).all() and (whole.latency_avg_ms <= whole.latency_max_ms).all()
    assert whole.error_rate.between(0, 1).all()
    assert whole.result.isin(["pass", "fail", "-"]).all()
    for step in whole.itertuples():
        seconds = [int(ok) for ok in str(step.throughput_each_second).split()]
        assert abs(len(seconds) - step.measured_s) <= 1, (seconds, step.measured_s)
        mean = sum(seconds) / len(seconds)
        assert abs(mean - step.throughput_per_s) <= max(5, 0.25 * step.throughput_per_s), (mean, step.throughput_per_s)
    return steps


def transitions(folder):
    phases = pd.read_csv(folder / "phase_transitions.csv", keep_default_na=False)
    assert list(phases.sequence) == list(range(1, len(phases) + 1))
    assert phases.from_phase[0] == "none" and phases.to_phase.iloc[-1] == "end"
    assert list(phases.from_phase[1:]) == list(phases.to_phase[:-1])
    assert phases.at_s.is_monotonic_increasing and phases.unix_ms.is_monotonic_increasing
    return phases


def summary(folder):
    text = (folder / "test_summary.txt").read_text()
    found = dict(re.findall(r"^([A-Z][\w ]+): (.*)$", text, re.MULTILINE))
    for name in ("Target", "Ended", "Critical failure point", "Safe operating range", "Peak throughput", "Baseline latency"):
        assert found.get(name), (name, text)
    return found


def marker(path):
    lines = path.read_text().splitlines()
    values = dict(line.split(": ", 1) for line in lines[1:-1])
    assert lines[-1] == "end" and float(lines[0]) > 1.7e9, lines
    assert values["phase"] in PHASES and float(values["rate"]) > 0
    return int(values["sequence"])


def main():
    folder, expected = pathlib.Path(sys.argv[1]), sys.argv[2]
    steps, phases, found = metrics(folder), transitions(folder), summary(folder)
    assert set(steps.phase) <= set(phases.to_phase)
    assert found["Ended"].startswith(expected), found["Ended"]
    if expected == "complete":
        markers = folder / "markers"
        injected = marker(markers / "main_injection_timestamp.txt")
        mitigated = marker(markers / "mitigation_trigger.txt")
        assert injected < mitigated, (injected, mitigated)
        assert steps.complete.all()
        rate = float(found["Critical failure point"].split()[0])
        assert rate in set(steps.target_per_s.round(1)), rate
    print(f"{len(steps)} steps, {len(phases)} phases")


if __name__ == "__main__":
    main()
