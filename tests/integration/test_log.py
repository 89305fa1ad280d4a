"""What headquarters' daemon says in its log: one line an event, with a priority, and nothing of what rows hold."""
import copy
import os
import re
import sqlite3
import time

import tributary_client as wire

from world import tributary, until


def mobile(number):
    return f"1360000{number:04d}"


def logged(hub, pattern):
    return until(lambda: re.search(f"(?m)^<[2-6]>{pattern}", hub.said()), 45)


def test_what_happens_at_the_hub_is_logged(world, tmp_path):
    hub, north = world.hub, world.branches["north"]
    assert logged(hub, "north: session up, tributary")
    north.customer("c1", "王小明", mobile(1))
    world.in_sync()
    token = hub.invite("east")
    assert logged(hub, "east: invited")
    tributary("branch", "join", tmp_path / "east", token)
    assert logged(hub, "east: a machine joined")
    tributary("branch", "join", tmp_path / "again", token, "--timeout", "5s", code=None)
    assert logged(hub, r"east: join refused \(fault 5, token used again\)")
    short = hub.invite("late", "--expires", "1s")
    time.sleep(1.5)
    tributary("branch", "join", tmp_path / "late", short, "--timeout", "5s", code=None)
    assert logged(hub, r"late: join refused \(fault 4, token expired\)")
    forged = wire.parse_token(hub.invite("forged"))
    forged["secret"] = os.urandom(32)
    try:
        wire.Branch.join(wire.encode_token(forged), 5000)
    except wire.Fault:
        pass
    assert logged(hub, r"join refused \(fault 3, token unknown\)")
    hub.do("hub suspend", "north", "--dry-run")
    assert "north: suspended" not in hub.said()
    hub.do("hub suspend", "north")
    hub.do("hub resume", "north")
    hub.do("rotate")
    assert logged(hub, "north: suspended") and logged(hub, "north: resumed") and logged(hub, "headquarters' keys were rotated")
    hub.do("hub backup", tmp_path / "one.db")
    assert logged(hub, "backup 1 done and verified")
    hub.do("policy", "load", os.path.join(os.path.dirname(__file__), "../../deploy/sample/policy.json"))
    assert logged(hub, r"the catalogue was extended: \d+ tables")
    north.stop()
    assert logged(hub, "north: session down")
    os.unlink(os.path.join(north.dir, "outbox.db"))
    north.start()
    assert logged(hub, "north: a new stream was granted: outbox.db was missing")
    hub.do("hub revoke", "south", "--yes")
    assert logged(hub, "south: revoked") and logged(hub, "south: session down")
    assert "王小明" not in hub.said() and mobile(1) not in hub.said()
    assert all(re.match("<[2-6]>", line) for line in hub.said().splitlines()), hub.said()


def test_damage_is_logged(new_world):
    hub = new_world("north").hub
    peer = wire.Branch.join(hub.invite("raw"))
    peer.connect()
    peer.seal(wire.customer_changes("张三", [], "c1"))
    peer.flush()
    peer.state["batches"].clear()
    peer.state["last_mark"] = 0
    peer.seal(wire.customer_changes("李四", [], "c2"))
    peer.send(1)
    assert logged(hub, "raw: fork at batch 1: ")
    peer.close()
    other = wire.Branch.join(hub.invite("other"))
    other.connect()
    sequence = other.seal(wire.customer_changes("赵六", [], "c3"))
    sealed = bytearray(other.state["batches"][sequence - 1]["sealed"])
    sealed[-1] ^= 1
    other.line.send("batch", sealed=bytes(sealed), ack=b"")
    assert logged(hub, "other: batch 1 is damaged")
    other.close()


def test_digests_that_differ_and_changes_set_aside_are_logged(world):
    hub, north = world.hub, world.branches["north"]
    db = sqlite3.connect(f"{north.dir}/replica.db", timeout=10)
    with db:
        db.executemany("INSERT INTO customer(id,kind,name) VALUES(?,'person',?)", [(f"m{n}", f"客{n}") for n in range(100)])
    db.close()
    world.in_sync()
    hub.stop()
    hub.write("UPDATE digest SET sum=sum+1 WHERE site=(SELECT no FROM site_no WHERE name='north') AND tbl=1")
    hub.start()
    north.sql("DELETE FROM customer")
    assert logged(hub, r"north: 100 changes of batch \d+ are set aside")
    assert logged(hub, r"north: digest of 1 tables differs from batch \d+ on")


def test_two_machines_with_the_same_keys_are_logged(new_world):
    hub = new_world("north").hub
    one = wire.Branch.join(hub.invite("raw"))
    two = copy.deepcopy(one)
    for _ in range(12):
        one.connect()
        two.connect()
    assert logged(hub, "raw: lines take turns")
    one.close()
    two.close()
