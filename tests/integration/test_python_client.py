"""The real hub and a branch that is not ours: tests/python/tributary_client.py, written from proto/PROTOCOL.md alone. What these tests
prove is that the specification is complete and that the hub keeps to it."""
import json
import os
import time

import pytest

import tributary_client as trb
from world import tributary, until

UNIFIED_CUSTOMER = 200


@pytest.fixture
def hub(new_world):
    return new_world().hub


def join(hub, site="site1", **how):
    return trb.Branch.join(hub.invite(site, "--region", "CN", "--area-code", "021"), **how)


@pytest.fixture
def branch(hub):
    branch = join(hub)
    branch.connect()
    yield branch
    branch.close()


def find(hub, text):
    out, _ = tributary("find", hub.dir, text, "--json", "--unmask", code=None)
    return [json.loads(line) for line in out.splitlines() if line.strip()]


def send(branch, changes, **how):
    branch.seal(changes, **how)
    branch.flush()
    return branch.state["batches"][-1]


def test_a_customer_with_contacts_arrives_and_is_found(hub, branch):
    sent = send(branch, trb.customer_changes("张三", [("mobile", "139 1111 2222"), ("email", "Zhang.San@example.com")], "C001"))
    assert branch.state["acked"] == 1 and sent["ack"]
    received_ms = sent["times"][-1] >> 16
    assert abs(received_ms - time.time() * 1000) < 60000
    assert until(lambda: any("张三" in json.dumps(row, ensure_ascii=False) for row in find(hub, "张三")))
    assert until(lambda: find(hub, "13911112222"))
    shown, _ = tributary("show", hub.dir, find(hub, "13911112222")[0]["party"], "--unmask")
    assert "张三" in shown and "site1" in shown


def test_the_hub_keeps_the_times_that_the_ack_fixes(hub, branch):
    sent = send(branch, trb.customer_changes("李四", [("mobile", "13700000001")], "C002"))
    batch = trb.open_batch(sent["sealed"], trb.sign_public(branch.state["sign_seed"]))
    ack = trb.open_ack(sent["ack"], branch.keyset()["sign_public"])
    assert sent["times"] == trb.effective_times(batch["marks"], batch["segments"], ack)
    assert sent["times"] == sorted(sent["times"]) and sent["times"][-1] <= ack["limit"]


def test_a_wrong_clock_does_not_change_when_things_happened(branch):
    for error_ms in (4 * 365 * 86400000, -9 * 365 * 86400000):
        branch.clock_error_ms = error_ms
        branch.ping()
        sent = send(branch, trb.customer_changes("王五", [], f"C{error_ms}"))
        ack = trb.open_ack(sent["ack"], branch.keyset()["sign_public"])
        assert all(verified for _, verified in ack["corrections"])
        assert abs((sent["times"][0] >> 16) - time.time() * 1000) < 5000


def test_the_same_batch_again_gets_the_same_ack(hub, branch):
    send(branch, trb.customer_changes("赵六", [("mobile", "13700000002")], "C003"))
    first = branch.state["batches"][0]["ack"]
    for _ in range(3):
        branch.connect()  # acks come for what is sent on this connection
        assert branch.welcome["acked_sequence"] == 1
        branch.send(1)
        again = branch.wait_for("ack", 20000)
        assert trb.check_shape(again["acks"]) == [first]
    assert len(find(hub, "赵六")) == 1


def test_many_batches_in_one_pass(hub, branch):
    count = 40
    for i in range(count):
        branch.seal(trb.customer_changes(f"客户{i}", [("mobile", f"1371000{i:04d}")], f"P{i}"),
                    flags=trb.CONTINUES if i < count - 1 else 0)
    branch.flush()
    assert branch.state["acked"] == count
    times = [t for b in branch.state["batches"] for t in b["times"]]
    assert times == sorted(times)
    assert until(lambda: find(hub, "客户39"))


def test_digests_of_both_sides_are_equal(hub, branch):
    send(branch, trb.customer_changes("张三", [("mobile", "13911112222")], "C001"))
    send(branch, [(trb.CUSTOMER, trb.SET, "C001", {5: "张三丰", 24: 1234.5, 34: None}),
                  (trb.CONTACT, trb.DELETE, "C001-0", {})])
    site = until(lambda: hub.sites().get("site1"))
    assert site["digests_equal"] is True
    assert until(lambda: find(hub, "张三丰"))


def test_one_bad_change_is_set_aside_and_the_rest_is_applied(hub, branch):
    send(branch, [(trb.CUSTOMER, trb.PUT, "BAD", {5: "没有种类"}),  # kind is required
                  (9999, trb.PUT, "X", {1: 1}),
                  *trb.customer_changes("好客户", [("mobile", "13700000003")], "GOOD")])
    assert until(lambda: find(hub, "好客户"))
    assert not find(hub, "没有种类")
    rejected, _ = tributary("rejected", hub.dir, "--json", code=None)
    assert "BAD" in rejected


def test_rows_come_down_and_are_acknowledged(hub, branch):
    send(branch, trb.customer_changes("钱七", [("mobile", "13700000004")], "C004"))
    seen = lambda: any(table == UNIFIED_CUSTOMER and "钱七" in values.values() for table, _, _, _, values in branch.down)  # noqa: E731
    assert branch.listen(30, seen), branch.down
    versions = [row[3] for row in branch.down]
    assert versions == sorted(versions)
    position = branch.state["down_epoch"], branch.state["down_version"]
    assert until(lambda: hub.sites()["site1"]["down_pending"] == 0)
    branch.down.clear()
    branch.connect()  # continues where it was: nothing comes twice
    branch.listen(1)
    assert branch.state["down_epoch"] == position[0] and branch.state["down_version"] >= position[1]
    assert all(row[3] > position[1] for row in branch.down)


def test_a_replica_that_lost_what_came_down_gets_a_snapshot(branch):
    send(branch, trb.customer_changes("孙八", [("mobile", "13700000005")], "C005"))
    seen = lambda: any("孙八" in row[4].values() for row in branch.down)  # noqa: E731
    assert branch.listen(30, seen)
    branch.down.clear()
    branch.state.update(down_epoch=bytes(16), down_version=0)
    branch.connect()
    assert branch.listen(30, seen)


def test_pings_are_answered_with_the_hubs_time(branch):
    pong = branch.ping()
    assert abs(pong["hub_ms"] - time.time() * 1000) < 5000
    assert branch.offset_ms is not None and branch.round_trip_ms < 5000


def test_another_batch_under_a_number_that_is_taken_is_a_fork(hub, branch):
    send(branch, trb.customer_changes("周九", [], "C006"))
    branch.state["batches"].clear()
    branch.seal(trb.customer_changes("冒充", [], "C006"))
    branch.send(1)
    with pytest.raises(trb.Hold) as held:
        branch.wait_for("ack", 20000)
    assert held.value.code == 2
    assert not find(hub, "冒充")


def test_a_gap_is_named(branch):
    for i in range(3):
        branch.seal(trb.customer_changes("吴十", [], f"G{i}"))
    branch.send(3)
    with pytest.raises(trb.Hold) as held:
        branch.wait_for("ack", 20000)
    assert (held.value.code, held.value.sequence) == (1, 1)
    branch.flush()  # and it goes on
    assert branch.state["acked"] == 3


def test_a_batch_signed_by_another_key_is_refused(hub, branch):
    branch.state["sign_seed"], right = os.urandom(32), branch.state["sign_seed"]
    branch.seal(trb.customer_changes("伪造", [], "F1"))
    branch.send(1)
    with pytest.raises(trb.Hold) as held:
        branch.wait_for("ack", 20000)
    assert held.value.code == 3
    branch.state["sign_seed"] = right
    branch.state["batches"].clear()
    branch.close()
    branch.connect()
    send(branch, trb.customer_changes("真的", [], "F2"))
    assert until(lambda: find(hub, "真的")) and not find(hub, "伪造")


def test_a_new_stream_continues_the_site(hub, branch):
    send(branch, trb.customer_changes("郑一", [("mobile", "13700000006")], "N1"))
    old = branch.state["incarnation"]
    branch.new_stream(why=1)
    assert branch.state["incarnation"] != old and branch.welcome["acked_sequence"] == 0
    rows = [(int(key.split("/")[0]), trb.PUT, key.split("/", 1)[1], values) for key, values in branch.state["rows"].items()]
    send(branch, rows, flags=trb.BASELINE)
    send(branch, trb.customer_changes("郑二", [], "N2"))
    assert until(lambda: find(hub, "郑二")) and len(find(hub, "郑一")) == 1
    with pytest.raises(trb.Hold) as held:
        branch.hello(incarnation=old)
    assert held.value.code == 5


def test_keys_are_rotated_by_signature_of_the_old(hub, branch):
    before = trb.curve_public(branch.state["curve_secret"])
    branch.rotate()
    assert trb.curve_public(branch.state["curve_secret"]) != before
    branch.connect()
    send(branch, trb.customer_changes("新钥匙", [], "R1"))
    assert until(lambda: find(hub, "新钥匙"))


def test_keys_of_another_site_are_not_taken(hub, branch):
    """Else that site's connections, and so its messages, would count as this one's."""
    victim = join(hub, "site2")
    victim.connect()
    own = dict(branch.state)
    original, seed = trb.os.urandom, branch.state["sign_seed"]
    keys = [victim.state["curve_secret"], os.urandom(32)]
    trb.os.urandom = lambda n: keys.pop(0) if keys else original(n)
    try:
        with pytest.raises(trb.Fault):
            branch.rotate()
    finally:
        trb.os.urandom = original
    assert branch.state["sign_seed"] == seed == own["sign_seed"]
    victim.close()
    victim.connect()
    assert victim.welcome["site"] == "site2"
    send(victim, trb.customer_changes("受害者", [], "V1"))
    victim.close()


def test_the_signing_key_alone_is_rotated(hub, branch):
    original = trb.os.urandom
    keys = [branch.state["curve_secret"]]
    trb.os.urandom = lambda n: keys.pop(0) if keys else original(n)
    try:
        branch.rotate()
    finally:
        trb.os.urandom = original
    send(branch, trb.customer_changes("新签名", [], "R2"))
    assert until(lambda: find(hub, "新签名"))


def test_a_second_token_does_not_replace_the_machine_of_a_site(hub):
    tokens = [hub.invite("site1") for _ in range(3)]
    first = trb.Branch.join(tokens[0])
    with pytest.raises(trb.Fault) as fault:
        trb.Branch.join(tokens[1])
    assert fault.value.code == 9
    first.connect()
    first.close()
    tributary("hub", "revoke", hub.dir, "site1", "--yes")
    with pytest.raises(trb.Fault) as fault:
        trb.Branch.join(tokens[2])
    assert fault.value.code == 4
    trb.Branch.join(hub.invite("site1")).connect()


def test_an_invitation_serves_one_pair_of_keys(hub):
    token = hub.invite("site1")
    keys = os.urandom(32), os.urandom(32)
    first = trb.Branch.join(token, keys=keys)
    again = trb.Branch.join(token, keys=keys)  # as after a crash between use and reply
    assert again.state["incarnation"] == first.state["incarnation"]
    with pytest.raises(trb.Fault) as fault:
        trb.Branch.join(token)
    assert fault.value.code == 5


def test_an_unknown_key_may_only_join(hub):
    token = trb.parse_token(hub.invite("site1"))
    stranger = trb.Branch({"site": "site1", "root_public": token["root_public"], "curve_secret": os.urandom(32), "batches": [],
                           "incarnation": bytes(16), "down_epoch": bytes(16), "down_version": 0})
    stranger.line = trb.Line(token["endpoints"][0], token["curve_public"], stranger.state["curve_secret"])
    with pytest.raises(trb.Fault) as fault:
        stranger.hello()
    assert fault.value.code == 8
    stranger.close()


def test_the_hub_survives_frames_that_are_wrong(hub, branch):
    good = trb.encode_message("ping", backlog=0, **branch.reading())
    for frame in (b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x91" * 100, good[:-3], trb.pack([99, 1]), trb.pack([2] + [0] * 9),
                  trb.pack([8, "text", 1, bytes(16), 0]), os.urandom(100000)):
        branch.line.socket.send(frame)
    branch.line.socket.send_multipart([good, good])
    faults = 0
    while True:
        try:
            branch.ping()
            break
        except trb.Fault as fault:
            assert fault.code == 2
            faults += 1
    assert faults >= 1
    send(branch, trb.customer_changes("还在", [], "S1"))
    assert hub.alive()


def test_a_revoked_site_is_cut_off_on_the_connection_it_has(hub, branch):
    send(branch, trb.customer_changes("前", [], "V1"))
    tributary("hub", "revoke", hub.dir, "site1", "--yes")
    branch.seal(trb.customer_changes("后", [], "V2"))
    with pytest.raises((trb.Fault, trb.Hold, TimeoutError)):
        branch.send(2)
        branch.wait_for("ack", 3000)
    assert not find(hub, "后")
