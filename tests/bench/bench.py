#!/usr/bin/python3
"""Runs every bench of this folder, one after the other, and prints one table; the JSON lines go to build/bench.jsonl.

Usage: bench.py [--large] [--only NAME...]   (TRIBUTARY names the program; the benches are beside it in bench/)
Exit code 1 when a bench fails or misses its own target."""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.abspath(os.environ["TRIBUTARY"])
BUILT = os.path.join(os.path.dirname(PROGRAM), "bench")


def benches(large):
    return {
        "capture": [f"{BUILT}/bench_capture", "/tmp"],
        "locked": [f"{BUILT}/bench_locked"],
        "latency": ["/usr/bin/python3", f"{HERE}/bench_latency.py", PROGRAM],
        "ingest": [f"{BUILT}/bench_ingest", *(["--large"] if large else [])],
        "unify": [f"{BUILT}/bench_unify"],
        "link": [f"{BUILT}/bench_link", "1000"],
    }


def run(name, words, out):
    print(f"== {name}: {' '.join(words)}", file=sys.stderr, flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    rows = []
    for line in done.stdout.splitlines():
        out.write(line + "\n")
        try:
            rows.append(json.loads(line))
        except ValueError:
            print(f"   {line}", file=sys.stderr)
    return rows, done.returncode


def cell(value):
    return "" if value is None else f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--large", action="store_true", help="ingest up to a million customers")
    args.add_argument("--only", nargs="*")
    args = args.parse_args()
    failed = []
    with open(os.path.join(os.path.dirname(BUILT), "../bench.jsonl"), "w", encoding="utf-8") as out:
        print("| bench | figure | value | unit | yardstick | ratio | conditions |\n|---|---|---|---|---|---|---|")
        for name, words in benches(args.large).items():
            if args.only and name not in args.only:
                continue
            rows, code = run(name, words, out)
            for row in rows:
                if "name" not in row:  # a set of figures rather than one
                    row = {"name": row.pop("bench", name), "conditions": ", ".join(f"{k} {v}" for k, v in row.items())}
                print(f"| {name} | " + " | ".join(cell(row.get(k)) for k in ("name", "value", "unit", "yardstick", "ratio", "conditions")) + " |", flush=True)
            if code:
                failed.append(f"{name} (exit {code})")
    if failed:
        print(f"bench: missed or failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
