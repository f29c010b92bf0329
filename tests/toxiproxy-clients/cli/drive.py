"""Drives a Toxiproxy server with toxiproxy-cli, which must be on PATH. Usage: drive.py API_URL ECHO_HOST:PORT

The CLI can neither populate nor reset, and shows what it read in columns.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

TOXICS = json.loads((pathlib.Path(__file__).parent.parent / "toxics.json").read_text())


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, expected {wanted!r}")


def run(url, *args):
    """Exit code, and the lines of its output as columns."""
    ended = subprocess.run(
        ["toxiproxy-cli", *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TOXIPROXY_URL": url},
    )
    return ended.returncode, [line.split("\t") for line in ended.stdout.splitlines()], ended.stderr.strip()


def ping(listen):
    """Sends a byte through `listen` and waits for its echo."""
    host, port = listen.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"x")
        same("the echo", connection.recv(1), b"x")


def is_refused(listen):
    try:
        ping(listen)
    except ConnectionRefusedError:
        return True
    return False


def drive(url, upstream):
    def done(*args):
        code, lines, error = run(url, *args)
        same(f"exit code of {args} ({error})", code, 0)
        return lines

    def fails(text, *args):
        code, _, error = run(url, *args)
        same(f"exit code of {args}", code, 1)
        same(f"{text!r} in {error!r}", text in error, True)

    def listed():
        return [line for line in done("list") if line[0] == "cli"]

    def toxic(name, kind, stream, toxicity, attributes):
        shown = [f"{key}={value}" for key, value in sorted(attributes.items())]
        start = [name, f"type={kind}", f"stream={stream}", f"toxicity={toxicity:.2f}", "attributes=["]
        return start + shown + ["]"]

    def flags(attributes):
        return [flag for key, value in attributes.items() for flag in ("-a", f"{key}={value}")]

    done("create", "--listen", "127.0.0.1:0", "--upstream", upstream, "cli")
    fails("HTTP 409: proxy already exists", "create", "--listen", "127.0.0.1:0", "--upstream", upstream, "cli")
    listen = listed()[0][1]
    same("the list", listed(), [["cli", listen, upstream, "enabled", "0"]])
    ping(listen)

    for case in TOXICS:
        for stream in ["upstream", "downstream"]:
            kind, name = case["type"], f"{case['type']}-{stream}"
            add = ["toxic", "add", "--type", kind, "--toxicName", name, f"--{stream}", "--toxicity", "0.5"]
            done(*add, *flags(case["attributes"]), "cli")
            same("the toxic", done("inspect", "cli"), [toxic(name, kind, stream, 0.5, case["attributes"])])
            fails("HTTP 409: toxic already exists", *add, *flags(case["attributes"]), "cli")
            update = ["toxic", "update", "--toxicName", name, "--toxicity", "0.25"]
            done(*update, *flags(case["update"]), "cli")
            merged = {**case["attributes"], **case["update"]}
            same("the toxic, updated", done("inspect", "cli"), [toxic(name, kind, stream, 0.25, merged)])
            # Without a toxicity this client sends 1.
            done("toxic", "update", "--toxicName", name, *flags(case["update"]), "cli")
            same("the toxic, updated again", done("inspect", "cli"), [toxic(name, kind, stream, 1, merged)])
            done("toxic", "remove", "--toxicName", name, "cli")
            same("the toxics, all removed", done("inspect", "cli"), [])
            fails("HTTP 404: toxic not found", "toxic", "remove", "--toxicName", name, "cli")
    fails("HTTP 400: invalid toxic type", "toxic", "add", "--type", "nonsense", "--toxicName", "x", "cli")
    done("toxic", "add", "--type", "latency", "--toxicName", "kept", "-a", "latency=1", "cli")

    done("toggle", "cli")
    same("the list", listed(), [["cli", listen, upstream, "disabled", "1"]])
    same("refused while disabled", is_refused(listen), True)
    done("toggle", "cli")
    same("the list", listed(), [["cli", listen, upstream, "enabled", "1"]])
    ping(listen)
    done("delete", "cli")
    same("the list", listed(), [])
    same("refused when deleted", is_refused(listen), True)
    fails("HTTP 404: proxy not found", "delete", "cli")
    fails("HTTP 404: proxy not found", "inspect", "cli")


if __name__ == "__main__":
    try:
        drive(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"toxiproxy-cli: {type(error).__name__}: {error}")
