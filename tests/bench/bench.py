#!/usr/bin/python3
"""Runs every benchmark and prints what they measured as a table, each figure beside its yardstick and its bound.

Each program of tests/bench prints JSON lines {name, value, unit, yardstick, ratio, conditions}; they are kept in
build/bench.jsonl. The yardstick of a ratio ran interleaved in the same process. Nothing here is a test: a figure over its
bound is marked, and the exit code is 1 (bounds: the README's table, 'Performance').

Usage: bench.py [--only NAME,NAME] [--large]     names: capture locked link unify ingest latency"""
import argparse
import json
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
PROGRAM = os.environ.get("TRIBUTARY", os.path.join(ROOT, "build/gcc/tributary"))
BUILT = os.path.join(os.path.dirname(PROGRAM), "bench")
KEPT = os.path.join(ROOT, "build/bench.jsonl")

# figure -> (field, at most or at least, bound)
BOUNDS = {
    "tracked insert, a commit": ("ratio", "<=", 2.5), "tracked update, a commit": ("ratio", "<=", 2.5),
    "locked_with_daemon": ("value", "<", 0.5),
    "branch_idle_cpu": ("value", "<", 0.5), "branch_idle_memory": ("value", "<", 12),
    "link_server_memory": ("value", "<", 150),
    "ingest_100k": ("ratio", ">=", 0.25),
    "commit_to_unified_p50": ("value", "<", 20), "commit_to_unified_p99": ("value", "<", 100),
}


def commands(large):
    built = lambda name: os.path.join(BUILT, "bench_" + name)  # noqa: E731
    return {
        "capture": [built("capture")],
        "locked": [built("locked")],
        "link": [built("link")],
        "unify": [built("unify")],
        "ingest": [built("ingest"), *(["--large"] if large else [])],
        "latency": [os.path.join(ROOT, "tests/bench/bench_latency.py"), PROGRAM],
    }


def within(figure):
    """True, False, or None when the figure has no bound."""
    for prefix, (field, sign, bound) in BOUNDS.items():
        if figure["name"].startswith(prefix) and field in figure:
            value = figure[field]
            return {"<=": value <= bound, "<": value < bound, ">=": value >= bound}[sign]
    return None


def bound_text(figure):
    for prefix, (field, sign, bound) in BOUNDS.items():
        if figure["name"].startswith(prefix) and field in figure:
            return f"{'ratio ' if field == 'ratio' else ''}{sign} {bound:g}"
    return ""


def run(name, command):
    print(f"== {name}", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    figures = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not figures:
        sys.exit(f"bench: {command[0]} gave no figures (exit {done.returncode})")
    return figures


def cells(f):
    good = within(f)
    return (f["name"], f"{f['value']:,.4g} {f['unit']}", f"{f['yardstick']:,.4g}" if "yardstick" in f else "",
            f"{f['ratio']:.3g}" if "ratio" in f else "", bound_text(f), {True: "ok", False: "OVER", None: ""}[good],
            f.get("conditions", ""))


def show(figures):
    """A Markdown table, as the README has it."""
    print("| figure | value | yardstick | ratio | bound | | conditions |\n|---|---|---|---|---|---|---|")
    for figure in figures:
        print("| " + " | ".join(cells(figure)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="names, comma separated")
    parser.add_argument("--large", action="store_true", help="ingest to 1 million customers")
    options = parser.parse_args()
    wanted = commands(options.large)
    names = options.only.split(",") if options.only else list(wanted)
    for name in names:
        if name not in wanted:
            parser.error(f"no benchmark is called {name}; there are: {' '.join(wanted)}")
    figures = []
    for name in names:
        figures += run(name, wanted[name])
    with open(KEPT, "w", encoding="utf-8") as kept:
        kept.writelines(json.dumps(f, ensure_ascii=False) + "\n" for f in figures)
    show(figures)
    return any(within(f) is False for f in figures)


if __name__ == "__main__":
    sys.exit(main())
