#!/usr/bin/python3
"""kill -9 of the hub and of branches at random, while clients write through plain SQLite and an operator works at headquarters.

Writers (one a branch) insert, change and delete customers and contacts, each in its own transaction, and remember what they
committed; now and then one deletes so many at once that headquarters holds the deletes. The operator takes held deletes
(`rejected retry all`), loads a policy with a custom column, which the writers then fill, and makes backups, all of it while the
hub may die. Meanwhile a node chosen by the seed is killed and started again, --rounds times. Afterwards every row that a client
committed is at the hub exactly once with its last value, what was deleted is gone, digests are equal, `verify` finds no difference,
and every backup that is there under its name is whole.

What happens is decided by --seed; when the kernel runs which process is not, so a seed repeats the plan, not the instant."""
import argparse
import json
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "integration"))
from world import Refused, World, tributary  # noqa: E402

ROWS_KEPT = 2000  # live rows of a writer: beyond it rows are changed rather than inserted
DELETES = 0.03
MASS = 30  # deletes in one transaction: over the 20 (or 1 % of the table) that headquarters takes without asking
SYNC_SECONDS = 120


class Writer(threading.Thread):
    """One client program at a branch."""

    def __init__(self, branch, seed):
        super().__init__(daemon=True)
        self.branch, self.random, self.end = branch, random.Random(seed), threading.Event()
        self.rows, self.number, self.commits, self.wrong = {}, 0, 0, None
        self.mass_at, self.mass_deletes, self.has_size = 2 * MASS, 0, False

    def run(self):
        try:
            db = sqlite3.connect(f"{self.branch.dir}/replica.db", timeout=60, isolation_level=None)
            while not self.end.is_set():
                for _ in range(self.random.randrange(1, 30)):  # a burst, and a pause in which the daemon may read
                    self.step(db)
                if len(self.rows) >= self.mass_at:
                    self.delete_many(db)
                self.has_size = self.has_size or any(column[1] == "size" for column in db.execute("PRAGMA table_info(customer)"))
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
            rows[row] = (name, phone, None)
        elif choice < 1 - DELETES:
            row = self.random.choice(sorted(rows))
            name, size = f"改名{self.commits}", rows[row][2]
            db.execute("UPDATE customer SET name=? WHERE id=?", (name, row))
            if self.has_size:
                size = self.random.randrange(30, 50)
                db.execute("UPDATE customer SET size=? WHERE id=?", (size, row))
            rows[row] = (name, rows[row][1], size)
        else:
            self.delete(db, rows, self.random.choice(sorted(rows)))
        if self.random.random() < 0.1:
            db.execute("ROLLBACK")
            return
        db.execute("COMMIT")
        self.rows = rows
        self.commits += 1

    @staticmethod
    def delete(db, rows, row):
        db.execute("DELETE FROM contact WHERE id=?", (row + "m",))
        db.execute("DELETE FROM customer WHERE id=?", (row,))
        del rows[row]

    def delete_many(self, db):
        rows = dict(self.rows)
        db.execute("BEGIN IMMEDIATE")
        for row in self.random.sample(sorted(rows), MASS):
            self.delete(db, rows, row)
        db.execute("COMMIT")
        self.rows = rows
        self.commits += 1
        self.mass_deletes += 1
        self.mass_at = len(rows) + self.random.randrange(2 * MASS, 6 * MASS)


class Operator(threading.Thread):
    """Somebody at headquarters. Each command may fail because the hub dies under it; none may do half of its work."""

    def __init__(self, world, seed):
        super().__init__(daemon=True)
        self.world, self.random, self.end = world, random.Random(seed), threading.Event()
        self.taken, self.loads, self.backups, self.asked, self.wrong = 0, 0, 0, 0, None
        self.policy = os.path.join(world.folder, "policy.json")

    def run(self):
        try:
            while not self.end.wait(self.random.uniform(0.1, 0.8)):
                self.random.choice([self.take_deletes, self.take_deletes, self.load_policy, self.back_up])()
        except Exception as error:  # told to the main thread
            self.wrong = error

    def say(self, *words):
        """None when the command failed."""
        try:
            return self.world.hub.do(*words)
        except Refused:
            return None

    def take_deletes(self):
        out = self.say("rejected", "retry", "all")
        done = re.search(r"(\d+) changes applied", out or "")
        self.taken += int(done[1]) if done else 0

    def load_policy(self):
        """From the second time on the text of the column changes, so that there is always something to do."""
        column = {"id": "customer.size", "table_number": 1, "number": 62, "name": "size", "type": "int", "doc": f"size, as of {self.asked}"}
        self.asked += 1
        with open(self.policy, "w", encoding="utf-8") as file:
            json.dump({"custom_column": [column], "tag": [{"id": f"tag-{self.asked}", "name": f"标签{self.asked}"}]}, file)
        self.loads += self.say("policy", "load", self.policy) is not None

    def back_up(self):
        self.asked += 1
        self.backups += self.say("hub backup", os.path.join(self.world.folder, f"backup-{self.asked}.db")) is not None


def start(node, wait=True):
    """A command of the operator that found no daemon works on the files itself, and a daemon does not start beside it."""
    for _ in range(100):
        try:
            return node.start(wait=wait)
        except Refused as refused:
            if "is in use by another tributary process" not in str(refused):
                raise
            time.sleep(0.1)
    raise Refused(f"{node.name}: the lock is never free")


def compare(world, site, writer):
    """What the client committed against what the hub holds."""
    wrong = []
    query = ("SELECT c.id, c.name, (SELECT group_concat(t.value) FROM contact t WHERE t._site = c._site AND t.customer_id = c.id), c.size "
             "FROM customer c JOIN site_no n ON n.no = c._site WHERE n.name = ?")
    held = world.hub.query(query, site)
    at_hub = {row: (name, phone, size) for row, name, phone, size in held}
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
    writers = {name: Writer(node, f"{args.seed}/{name}") for name, node in world.branches.items()}
    operator = Operator(world, f"{args.seed}/operator")
    kills = {"hub": 0, **{name: 0 for name in world.branches}}
    began, wrong = time.monotonic(), []
    try:
        for thread in [*writers.values(), operator]:
            thread.start()
        for round_number in range(args.rounds):
            node = world.hub if chance.random() < 0.4 else world.branches[chance.choice(sorted(world.branches))]
            time.sleep(chance.uniform(0, 0.3))
            node.kill()
            kills[node.name] += 1
            time.sleep(chance.choice([0, 0, 0.05, 0.2]))
            # Now and then it is killed again while it starts.
            start(node, wait=chance.random() < 0.8)
            if (round_number + 1) % 20 == 0:
                print(f"  {round_number + 1} of {args.rounds} kills, {sum(w.commits for w in writers.values())} commits", flush=True)
        operator.end.set()
        operator.join(120)
        if operator.wrong or operator.is_alive():
            wrong.append(f"the operator failed: {operator.wrong!r}")
        for name, writer in writers.items():
            writer.end.set()
            writer.join(120)
            if writer.wrong or writer.is_alive():
                wrong.append(f"the client of {name} failed: {writer.wrong!r}")
        for node in [world.hub, *world.branches.values()]:
            if not node.alive():
                if "is in use by another tributary process" not in node.said()[-200:]:
                    wrong.append(f"{node.name} ended by itself: {node.said()[-600:]}")
                start(node)
        operator.load_policy()  # none may have been done yet: each died with the hub
        for node in world.branches.values():
            node.in_sync(SYNC_SECONDS)
        operator.take_deletes()
        world.in_sync(SYNC_SECONDS)
        operator.back_up()
        if not (operator.loads and operator.backups and operator.taken):
            wrong.append(f"the operator did nothing: {operator.loads} loads, {operator.backups} backups, {operator.taken} changes taken")
        sites = world.hub.sites()
        for name, node in world.branches.items():
            wrong += compare(world, name, writers[name])
            if node.status()["digests"] != sites[name]["digests"]:
                wrong.append(f"{name}: digests differ")
        world.close()
        backups = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if re.fullmatch(r"backup-\d+\.db", name)]
        for what in [world.hub.dir, *(node.dir for node in world.branches.values()), *backups]:
            try:
                tributary("verify", what)
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
          f"{sum(w.mass_deletes for w in writers.values())} mass deletes ({operator.taken} changes taken), {operator.loads} policy loads, "
          f"{operator.backups} backups, {live} customers live, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    if wrong:
        print(f"kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
