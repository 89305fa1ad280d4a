"""`verify` at a branch: whole files are whole, with and without the daemon; every kind of damage is found and said."""
import copy
import json
import shutil
import sqlite3

import pytest

from world import World, tributary


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A branch with three batches sealed and acknowledged, its daemon stopped."""
    world = World(tmp_path_factory.mktemp("verify") / "w", ["north"])
    north = world.branches["north"]
    try:
        for n in range(3):
            north.customer(f"n{n}", "张三", f"1390000{n:04d}")
            north.in_sync()
        assert north.do("verify").splitlines()[0].endswith("whole")  # beside its daemon
        north.stop()
        yield north
    finally:
        world.close()


@pytest.fixture
def node(stopped, tmp_path):
    """A copy of it to damage."""
    copied = copy.copy(stopped)
    copied.dir = str(tmp_path / "north")
    shutil.copytree(stopped.dir, copied.dir)
    return copied


def outbox(node, sql, *values):
    db = sqlite3.connect(f"{node.dir}/outbox.db")
    with db:
        rows = db.execute(sql, values).fetchall()
    db.close()
    return rows


def report(node, code):
    out, err = tributary("verify", node.dir, "--json", code=code)
    return json.loads(out), err


def flipped(blob, at):
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1:]


def test_a_whole_branch_is_good_without_its_daemon(node):
    got, err = report(node, 0)
    assert got["good"] and got["batches"] == 3 and got["rows"] == 6 and not err


def test_rows_that_wait_to_be_sealed_are_no_difference(node):
    node.sql("UPDATE customer SET city = '上海' WHERE id = 'n0'")
    node.sql("DELETE FROM contact WHERE id = 'n1-m'")
    node.customer("n9", "李四", "13900000009")
    assert report(node, 0)[0]["row_differences"] == 0


@pytest.mark.parametrize("at", [3, 40, -1, -70])
def test_a_flipped_bit_in_a_batch_is_found(node, at):
    (sealed,), = outbox(node, "SELECT sealed FROM batch WHERE sequence = 2")
    outbox(node, "UPDATE batch SET sealed = ? WHERE sequence = 2", flipped(sealed, at % len(sealed)))
    got, err = report(node, 1)
    assert got["chain_errors"] >= 1 and "batch" in err


def test_a_missing_batch_is_found(node):
    outbox(node, "DELETE FROM batch WHERE sequence = 2")
    assert report(node, 1)[0]["chain_errors"] == 1


def test_a_missing_end_is_found(node):
    outbox(node, "DELETE FROM batch WHERE sequence = 3")
    assert report(node, 1)[0]["chain_errors"] == 1


def test_a_forged_acknowledgement_is_found(node):
    (ack,), = outbox(node, "SELECT ack FROM batch WHERE sequence = 1")
    outbox(node, "UPDATE batch SET ack = ? WHERE sequence = 1", flipped(ack, len(ack) - 3))
    assert report(node, 1)[0]["ack_errors"] == 1


def test_a_wrong_digest_is_found(node):
    outbox(node, "UPDATE digest SET sum = sum + 1 WHERE tbl = 1")
    assert report(node, 1)[0]["digest_errors"] == 1


def test_a_digest_without_rows_is_found(node):
    outbox(node, "INSERT INTO digest(tbl, live, sum) VALUES(9, 1, 5)")
    assert report(node, 1)[0]["digest_errors"] == 1


@pytest.mark.parametrize("change", ["UPDATE customer SET name = '王五' WHERE id = 'n1'", "DELETE FROM customer WHERE id = 'n1'",
                                    "INSERT INTO customer(id, kind) VALUES('x', 'person')"])
def test_a_change_past_the_triggers_is_found_and_its_values_are_not_told(node, change):
    node.shell(f".dbconfig enable_trigger off\n{change};")
    got, err = report(node, 1)
    assert got["row_differences"] == 1
    assert "customer" in err and "王五" not in err and "张三" not in err


def test_a_damaged_file_is_found(node):
    with open(f"{node.dir}/replica.db", "r+b") as file:
        file.seek(0, 2)
        pages = file.tell() // 4096
        file.seek((pages - 2) * 4096)
        file.write(b"\xff" * 64)
    out, err = tributary("verify", node.dir, "--json", code=1)
    assert "replica.db" in out + err
