#!/usr/bin/python3
"""How long after a branch's COMMIT the change stands in the hub's unified view: real hub, real branch, loopback, idle.

A client commits one customer with one contact at a branch through plain SQLite, then a read-only connection on hub.db is
asked, each 0.2 ms, until the unified customer is there. The yardstick is the same commit alone (the client's own cost is
not in the latency). Prints one JSON line a figure: {name, value, unit, yardstick, ratio, conditions}.

Usage: bench_latency.py PROGRAM [--changes N] [--pause SECONDS]"""
import argparse
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

POLL_SECONDS = 0.0002
GIVE_UP_SECONDS = 10


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Site:
    """A hub and one branch as real processes in a temporary folder."""

    def __init__(self, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="tributary-latency-")
        self.hub = os.path.join(self.folder, "hub")
        self.branch = os.path.join(self.folder, "branch")
        self.daemons = []

    def run(self, *words):
        return subprocess.run([self.program, *words], check=True, capture_output=True, text=True).stdout

    def start(self, *words):
        log = open(os.path.join(self.folder, words[0] + ".log"), "w")
        self.daemons.append(subprocess.Popen([self.program, *words], stdout=log, stderr=log))

    def __enter__(self):
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.run("hub", "init", self.hub, "--name", "HQ", "--listen", endpoint, "--advertise", endpoint)
        self.start("hub", "run", self.hub)
        self.wait(lambda: os.path.exists(os.path.join(self.hub, "control.sock")))
        token = self.run("hub", "invite", self.hub, "north").strip().splitlines()[-1]
        self.run("branch", "join", self.branch, token)
        self.start("branch", "run", self.branch)
        self.run("status", self.branch, "--wait", "30")
        return self

    def wait(self, condition):
        end = time.monotonic() + GIVE_UP_SECONDS
        while not condition():
            if time.monotonic() > end:
                sys.exit("bench_latency: the hub did not start; see " + self.folder)
            time.sleep(0.02)

    def __exit__(self, *_):
        for daemon in self.daemons:
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(site, changes, pause, seed=1):
    """[(commit seconds, seconds from the end of COMMIT to the unified view)]"""
    rng = random.Random(seed)
    client = sqlite3.connect(os.path.join(site.branch, "replica.db"), isolation_level=None, timeout=5)
    client.execute("PRAGMA synchronous=FULL")
    reader = sqlite3.connect(f"file:{site.hub}/hub.db?mode=ro", uri=True, isolation_level=None)
    seen = "SELECT 1 FROM unified_customer WHERE name = ?"
    results = []
    for n in range(changes):
        name = f"测试{n:05d}"
        mobile = f"139{rng.randrange(10**8):08d}"
        time.sleep(pause * rng.uniform(0.5, 1.5))
        begun = time.perf_counter()
        client.execute("BEGIN IMMEDIATE")
        client.execute("INSERT INTO customer(id,kind,name) VALUES(?,'person',?)", (f"L{n}", name))
        client.execute("INSERT INTO contact(customer_id,kind,value) VALUES(?,'mobile',?)", (f"L{n}", mobile))
        client.execute("COMMIT")
        committed = time.perf_counter()
        while not reader.execute(seen, (name,)).fetchone():
            if time.perf_counter() - committed > GIVE_UP_SECONDS:
                sys.exit("bench_latency: a change never reached the unified view")
            time.sleep(POLL_SECONDS)
        results.append((committed - begun, time.perf_counter() - committed))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.2)
    options = parser.parse_args()
    with Site(os.path.abspath(options.program)) as site:
        results = measure(site, options.changes, options.pause)
    commit_ms = percentile([c * 1000 for c, _ in results], 0.5)
    for name, share in (("commit_to_unified_p50", 0.5), ("commit_to_unified_p99", 0.99)):
        value = percentile([l * 1000 for _, l in results], share)
        print(json.dumps({"name": name, "value": round(value, 3), "unit": "ms", "yardstick": round(commit_ms, 3),
                          "ratio": round(value / commit_ms, 2),
                          "conditions": f"{options.changes} commits, one each {options.pause} s, loopback; yardstick: p50 "
                                        "of the client's own commit"}))


if __name__ == "__main__":
    main()
