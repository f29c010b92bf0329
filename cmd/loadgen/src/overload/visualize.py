#!/usr/bin/env python3
"""Draws the tables of `loadgen overload`: python3 visualize.py [DIR] [--out FILE]

Needs pandas and matplotlib. Without a screen: MPLBACKEND=Agg.
"""

import argparse
import pathlib
import sys

import matplotlib.pyplot as plt
import pandas as pd

COLOURS = {
    "init": "#c5d9e8",
    "warmup": "#c5d9e8",
    "generator_check": "#c5d9e8",
    "load_increase": "#eab84a",
    "ramp": "#eab84a",
    "bisection": "#8ed0f7",
    "confirmation": "#8ed0f7",
    "failure": "#d55e00",
    "overload": "#d55e00",
    "mitigation": "#37c79b",
    "recovery": "#37c79b",
    "mirror": "#37c79b",
}


def tables(folder):
    """The steps and the phases of one test."""
    steps = pd.read_csv(folder / "gradual_overload_metrics.csv", dtype={"throughput_each_second": str})
    phases = pd.read_csv(folder / "phase_transitions.csv")
    return steps, phases


def each_second(steps):
    """Time and throughput of every second."""
    rows = []
    for step in steps.itertuples():
        seconds = str(step.throughput_each_second) if pd.notna(step.throughput_each_second) else ""
        rows += [(step.started_s + n + 0.5, int(ok)) for n, ok in enumerate(seconds.split())]
    return pd.DataFrame(rows, columns=["at_s", "ok"])


def shade(axes, phases):
    """Colours each phase behind every chart; names it once."""
    named = set()
    for begin, end in zip(phases.itertuples(), phases.iloc[1:].itertuples()):
        if begin.to_phase == "end":
            continue
        for n, axis in enumerate(axes):
            label = begin.to_phase if n == 0 and begin.to_phase not in named else None
            axis.axvspan(begin.at_s, end.at_s, color=COLOURS.get(begin.to_phase, "#e3e5e8"), alpha=0.25, lw=0, label=label)
        named.add(begin.to_phase)


def draw(folder, out):
    steps, phases = tables(folder)
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(12, 10))
    shade(axes, phases)
    seconds = each_second(steps)
    axes[0].plot(seconds.at_s, seconds.ok, color="#0072b2", lw=1, label="throughput")
    axes[0].set_ylabel("ops/s")
    ends = steps.started_s + steps.measured_s
    for column, colour in (("latency_avg_ms", "#0072b2"), ("latency_p99_ms", "#d55e00"), ("latency_max_ms", "#7a848e")):
        axes[1].hlines(steps[column].clip(lower=0.001), steps.started_s, ends, color=colour, lw=2, label=column)
    if len(steps):
        axes[1].set_yscale("log")
    axes[1].set_ylabel("latency, ms")
    axes[2].hlines(steps.target_per_s, steps.started_s, ends, color="#7a848e", lw=2, label="asked for")
    axes[2].hlines(steps.throughput_per_s, steps.started_s, ends, color="#0072b2", lw=2, label="done")
    axes[2].set_ylabel("workload, ops/s")
    axes[2].set_xlabel("seconds since the begin")
    for axis in axes:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    return out


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", nargs="?", type=pathlib.Path, default=here, help="where the tables are")
    parser.add_argument("--out", type=pathlib.Path, help="the picture [default: overload.png beside the tables]")
    given = parser.parse_args()
    try:
        print(draw(given.dir, given.out or given.dir / "overload.png"))
    except (OSError, KeyError, ValueError, pd.errors.ParserError) as error:
        sys.exit(f"{given.dir}: {error}")


if __name__ == "__main__":
    main()
