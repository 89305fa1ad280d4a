#!/usr/bin/python3
"""kill -9 of the hub and of branches at random, while clients write through plain SQLite.

Writers (one a branch) insert, change and delete customers and contacts, each in its own transaction, and remember what they
committed. Meanwhile a node chosen by the seed is killed and started again, --rounds times. Afterwards every row that a client committed
is at the hub exactly once with its last value, what was deleted is gone, digests are equal and `verify` finds no difference.

What happens is decided by --seed; when the kernel runs which process is not, so a seed repeats the plan, not the instant."""
import argparse
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "integration"))
from world import Refused, World, tributary  # noqa: E402

ROWS_KEPT = 2000  # live rows of a writer: beyond it rows are changed rather than inserted
DELETES = 0.03  # few enough that no seal pass looks like a mass delete, which headquarters would hold
SYNC_SECONDS = 120


class Writer(threading.Thread):
    """One client program at a branch."""

    def __init__(self, branch, seed):
        super().__init__(daemon=True)
        self.branch, self.random, self.end = branch, random.Random(seed), threading.Event()
        self.rows, self.number, self.commits, self.wrong = {}, 0, 0, None

    def run(self):
        try:
            db = sqlite3.connect(f"{self.branch.dir}/replica.db", timeout=60, isolation_level=None)
            while not self.end.is_set():
                for _ in range(self.random.randrange(1, 30)):  # a burst, and a pause in which the daemon may read
                    self.step(db)
                time.sleep(self.random.uniform(0, 0.4))
            db.close()
        except Exception as error:  # told to the main thread
            self.wrong = error

    def step(self, db):
        """One transaction; self.rows changes only after its COMMIT returned."""
        rows, choice = dict(self.rows), self.random.random()
        db.execute("BEGIN IMMEDIATE")
        if choice < (0.7 if len(rows) < ROWS_KEPT else 0.1) or not rows:
            self.number += 1
            row, name = f"r{self.number}", f"客户{self.number}"
            phone = f"139{self.random.randrange(2000):08d}"
            db.execute("INSERT INTO customer(id,kind,name) VALUES(?,'person',?)", (row, name))
            db.execute("INSERT INTO contact(id,customer_id,kind,value) VALUES(?,?,'mobile',?)", (row + "m", row, phone))
            rows[row] = (name, phone)
        elif choice < 1 - DELETES:
            row = self.random.choice(sorted(rows))
            name = f"改名{self.commits}"
            db.execute("UPDATE customer SET name=? WHERE id=?", (name, row))
            rows[row] = (name, rows[row][1])
        else:
            row = self.random.choice(sorted(rows))
            db.execute("DELETE FROM contact WHERE id=?", (row + "m",))
            db.execute("DELETE FROM customer WHERE id=?", (row,))
            del rows[row]
        if self.random.random() < 0.1:
            db.execute("ROLLBACK")
            return
        db.execute("COMMIT")
        self.rows = rows
        self.commits += 1


def compare(world, site, writer):
    """What the client committed against what the hub holds."""
    wrong = []
    query = ("SELECT c.id, c.name, (SELECT group_concat(t.value) FROM contact t WHERE t._site = c._site AND t.customer_id = c.id) FROM customer c "
             "JOIN site_no n ON n.no = c._site WHERE n.name = ?")
    held = world.hub.query(query, site)
    at_hub = {row: (name, phone) for row, name, phone in held}
    if len(held) != len(at_hub):
        wrong.append(f"{site}: {len(held) - len(at_hub)} rows doubled")
    for row in sorted(set(writer.rows) | set(at_hub)):
        if writer.rows.get(row) != at_hub.get(row):
            wrong.append(f"{site}/{row}: committed {writer.rows.get(row)}, at the hub {at_hub.get(row)}")
    return wrong


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--rounds", type=int, default=200)
    args.add_argument("--branches", type=int, default=3)
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_args()
    chance = random.Random(args.seed)
    folder = tempfile.mkdtemp(prefix="tributary-crash-")
    world = World(folder, [f"site-{i}" for i in range(args.branches)])
    # A client that deletes as it likes while its branch is down looks like a mass delete, which headquarters would hold.
    world.hub.do("policy", "set", "mass_delete_min", "1000000")
    writers = {name: Writer(node, f"{args.seed}/{name}") for name, node in world.branches.items()}
    kills = {"hub": 0, **{name: 0 for name in world.branches}}
    began, wrong = time.monotonic(), []
    try:
        for writer in writers.values():
            writer.start()
        for round_number in range(args.rounds):
            node = world.hub if chance.random() < 0.4 else world.branches[chance.choice(sorted(world.branches))]
            time.sleep(chance.uniform(0, 0.3))
            node.kill()
            kills[node.name] += 1
            time.sleep(chance.choice([0, 0, 0.05, 0.2]))
            # Now and then it is killed again while it starts.
            node.start(wait=chance.random() < 0.8)
            if (round_number + 1) % 20 == 0:
                print(f"  {round_number + 1} of {args.rounds} kills, {sum(w.commits for w in writers.values())} commits", flush=True)
        for name, writer in writers.items():
            writer.end.set()
            writer.join(120)
            if writer.wrong or writer.is_alive():
                wrong.append(f"the client of {name} failed: {writer.wrong!r}")
        for node in [world.hub, *world.branches.values()]:
            if not node.alive():
                wrong.append(f"{node.name} ended by itself: {node.said()[-600:]}")
                node.start()
        world.in_sync(SYNC_SECONDS)
        sites = world.hub.sites()
        for name, node in world.branches.items():
            wrong += compare(world, name, writers[name])
            if node.status()["digests"] != sites[name]["digests"]:
                wrong.append(f"{name}: digests differ")
        world.close()
        for node in [world.hub, *world.branches.values()]:
            try:
                tributary("verify", node.dir)
            except Refused as difference:
                wrong.append(str(difference))
    finally:
        for node in [world.hub, *world.branches.values()]:
            if node.process:
                node.kill()
    for line in wrong[:40]:
        print(f"WRONG: {line}")
    live = sum(len(w.rows) for w in writers.values())
    print(f"crash: {args.rounds} kills (seed {args.seed}; hub {kills['hub']}), {sum(w.commits for w in writers.values())} commits, "
          f"{live} customers live, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    if wrong:
        print(f"kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
