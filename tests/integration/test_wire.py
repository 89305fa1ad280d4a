"""The line against peers with valid keys that send what no Tributary node would, spoken by the independent Python client.

Each case ends the same way: the hub is up, its memory did not grow beyond a bound, and honest branches go on."""
import os
import random
import struct
import threading
import time

import msgpack
import pytest
import tributary_client as wire
import zmq

from world import until

MEMORY_MAX_KIB = 200_000  # of the hub in these tests: credit, frames and caches of a few branches


def mobile(number):
    return f"1350000{number:04d}"


def memory_kib(node):
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@pytest.fixture
def hub_world(new_world):
    return new_world("north")


@pytest.fixture
def peer(hub_world):
    """An enrolled branch in memory, in session."""
    branch = wire.Branch.join(hub_world.hub.invite("raw"))
    branch.connect()
    branch.ping()
    yield branch
    branch.close()


@pytest.fixture(autouse=True)
def the_hub_goes_on(request, hub_world):
    yield
    hub = hub_world.hub
    assert hub.alive(), hub.said()[-2000:]
    assert memory_kib(hub) < MEMORY_MAX_KIB
    hub_world.branches["north"].customer("after", "李四", mobile(99))
    until(lambda: hub_world.branches["north"].row("customer", "after") == "at headquarters")


def raw(branch, *frames):
    branch.line.socket.send_multipart(list(frames))


def customers(world):
    return {row for (row,) in world.hub.query("SELECT c.id FROM customer c JOIN site_no n ON n.no = c._site WHERE n.name = 'raw'")}


def refusal(branch):
    """The hold or fault that comes next; what comes down in between is taken."""
    with pytest.raises((wire.Hold, wire.Fault)) as refused:
        branch.wait_for("never", 5000)
    return refused.value


def write(branch, row, name="张三"):
    """One customer, sealed but not sent."""
    return branch.seal(wire.customer_changes(name, [("mobile", mobile(1))], row))


def test_the_client_from_the_document_is_acknowledged(hub_world, peer):
    write(peer, "c1")
    peer.flush()
    assert customers(hub_world) == {"c1"}
    assert peer.state["batches"][0]["times"]


def test_garbage_frames_are_answered_or_dropped(hub_world, peer):
    chance = random.Random(5)
    for size in (0, 1, 2, 10, 1000, 100_000):
        raw(peer, chance.randbytes(size))
    nested = b"\x91" * 5000 + b"\x01"
    raw(peer, nested)
    raw(peer, b"\x9f" * 20)
    raw(peer, b"\xdd\xff\xff\xff\xff")  # says it has four thousand million elements
    raw(peer, b"\xdf\xff\xff\xff\xff\x01")
    raw(peer, b"\xc6\xff\xff\xff\xffabc")
    raw(peer, wire.pack([99, 1]))
    raw(peer, wire.pack([1]))
    raw(peer, wire.pack("hello"))
    raw(peer, wire.pack([3, b"", b""]), b"a second frame")


def test_an_oversized_frame_is_not_taken(hub_world, peer):
    try:
        raw(peer, os.urandom(3_000_000))
        peer.line.receive(500)
    except (zmq.ZMQError, wire.Fault, wire.ProtocolError):
        pass
    peer.connect()
    write(peer, "c1")
    peer.flush()


def test_many_small_frames_in_one_message_are_not_gathered(hub_world, peer):
    for _ in range(5):
        raw(peer, *[b"x" * 50_000] * 300)
    time.sleep(0.3)
    assert memory_kib(hub_world.hub) < MEMORY_MAX_KIB


def test_messages_that_only_the_hub_sends_are_refused(hub_world, peer):
    raw(peer, wire.encode_message("pong", boot_ms=1, hub_ms=1, safe_sequence=0))
    raw(peer, wire.encode_message("hold", code=1, sequence=1, text="x"))


def damaged(sealed, how, chance):
    data = bytearray(sealed)
    if how == "cut":
        return bytes(data[:chance.randrange(len(data))])
    if how == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    if how == "longer":
        data += b"\0" * 7
    return bytes(data)


def started_anew(branch):
    """False when a refusal of before came in between."""
    try:
        return branch.new_stream(why=3)
    except (wire.Hold, wire.Fault):
        return False


@pytest.mark.parametrize("how", ["cut", "flip", "longer"])
def test_a_damaged_batch_is_never_applied(hub_world, peer, how):
    chance = random.Random(how)
    for turn in range(25):
        sequence = write(peer, f"{how}{turn}")
        good = peer.state["batches"][sequence - 1]["sealed"]
        bad = damaged(good, how, chance)
        if bad == good:
            continue
        peer.line.send("batch", sealed=bad, ack=b"")
        try:
            peer.ping()  # only the first few frames that cannot be read are answered; the session goes on
        except (wire.Hold, wire.Fault):
            pass
        assert customers(hub_world) == set()
        peer.state["batches"].clear()
        peer.state["last_mark"] = 0
        peer.state["rows"].clear()
        until(lambda: started_anew(peer))
    write(peer, "good")
    peer.flush()
    assert customers(hub_world) == {"good"}


def test_replayed_batches_are_applied_once_and_answered_with_the_same_ack(hub_world, peer):
    sequence = write(peer, "c1")
    peer.flush()
    ack = peer.state["batches"][0]["ack"]
    for _ in range(20):
        peer.send(sequence)
    write(peer, "c2")
    peer.flush()
    assert customers(hub_world) == {"c1", "c2"}
    assert peer.state["batches"][0]["ack"] == ack
    assert hub_world.hub.query("SELECT count(*) FROM customer c JOIN site_no n ON n.no = c._site WHERE n.name='raw'") == [(2,)]


def test_an_old_number_with_other_content_is_a_fork_and_changes_nothing(hub_world, peer):
    write(peer, "c1")
    peer.flush()
    peer.state["batches"].clear()
    peer.state["last_mark"] = 0
    write(peer, "forged")
    peer.send(1)
    held = refusal(peer)
    assert isinstance(held, wire.Fault) or held.code in (2, 7)
    assert customers(hub_world) == {"c1"}
    assert any(a["name"] in ("fork", "cloned") for a in hub_world.hub.status()["alarms"])


def test_a_gap_is_answered_with_the_number_expected(hub_world, peer):
    for row in ("c1", "c2", "c3"):
        write(peer, row)
    peer.send(3)
    held = refusal(peer)
    assert (held.code, held.sequence) == (1, 1)
    peer.connect()
    peer.flush()
    assert customers(hub_world) == {"c1", "c2", "c3"}


def test_a_batch_of_another_site_is_refused(hub_world, peer):
    other = wire.Branch.join(hub_world.hub.invite("other"))
    other.connect()
    other.ping()
    write(other, "foreign")
    peer.line.send("batch", sealed=other.state["batches"][0]["sealed"], ack=b"")
    assert refusal(peer)
    assert customers(hub_world) == set()
    other.flush()
    other.close()
    assert hub_world.hub.query("SELECT n.name FROM customer c JOIN site_no n ON n.no = c._site WHERE c.id = 'foreign'") == [("other",)]


def test_a_batch_that_says_another_site_but_is_signed_by_this_one_is_refused(hub_world, peer):
    peer.state["site"] = "north"
    write(peer, "forged")
    peer.state["site"] = "raw"
    peer.send(1)
    assert refusal(peer)
    assert hub_world.hub.query("SELECT count(*) FROM customer WHERE id = 'forged'") == [(0,)]


def test_changes_that_may_not_be_are_set_aside_one_by_one(hub_world, peer):
    now = int(time.time() * 1000)
    good = wire.customer_changes("张三", [("mobile", mobile(1))], "good")
    peer.seal([*good,
               (9999, wire.PUT, "x", {4: "unknown table"}),
               (201, wire.PUT, "x", {4: "person", 5: "a computed table"}),
               (wire.CUSTOMER, wire.PUT, "no-kind", {1: now, 5: "required column missing"}),
               (wire.CUSTOMER, wire.PUT, "bad-day", {1: now, 4: "person", 9: "tomorrow"}),
               (wire.CUSTOMER, wire.PUT, "bad-type", {1: now, 4: "person", 5: 12}),
               (wire.CUSTOMER, wire.PUT, "too-long", {1: now, 4: "person", 5: "x" * 5000})])
    peer.flush()  # acknowledged as a whole
    assert customers(hub_world) == {"good"}
    assert hub_world.hub.status()["rejected"] >= 6
    assert peer.listen(10, lambda: len({row for t, op, row, v, c in peer.down if t == 207}) >= 6)
    assert "张三" not in hub_world.hub.said() and mobile(1) not in hub_world.hub.said()  # no personal data in logs


def test_expansion_bombs_are_refused(hub_world, peer):
    """A body that says it is small and unpacks to much more."""
    zstd = pytest.importorskip("zstandard")
    write(peer, "c1")
    envelope = msgpack.unpackb(peer.state["batches"][0]["sealed"], raw=False)
    body = zstd.ZstdCompressor(level=19).compress(b"\x90" * 400_000_000)
    forged = [body if isinstance(part, bytes) and part is not envelope[0] and len(part) > 64 else part for part in envelope]
    peer.line.send("batch", sealed=wire.pack(forged)[:wire.BATCH_MAX], ack=b"")
    assert refusal(peer)


def test_an_unknown_key_may_only_join(hub_world):
    token = wire.parse_token(hub_world.hub.invite("late"))
    line = wire.Line(token["endpoints"][0], token["curve_public"], os.urandom(32))
    reading = {"wall_ms": 1, "boot_ms": 1, "boot_id": bytes(16)}
    line.send("hello", proto_min=1, proto_max=1, software="x", incarnation=bytes(16), last_sequence=0, last_hash=bytes(32),
              down_epoch=bytes(16), down_version=0, **reading)
    answer = line.receive(5000)
    assert answer and answer[0] == "fault" and answer[1]["code"] == 8
    line.close()


def test_guessing_tokens_is_slowed_down(hub_world):
    token = wire.parse_token(hub_world.hub.invite("late"))
    codes, began = [], time.monotonic()
    while time.monotonic() - began < 20 and 6 not in codes:
        token["secret"] = os.urandom(32)
        try:
            wire.Branch.join(wire.encode_token(token), 2000)
        except wire.Fault as fault:
            codes.append(fault.code)
        except TimeoutError:
            codes.append(6)
    assert 6 in codes and len(codes) < 200, codes[-5:]


def test_one_address_that_floods_does_not_keep_others_from_joining(hub_world, monkeypatch):
    invitation = hub_world.hub.invite("far")
    token, here = wire.parse_token(invitation), wire.Line
    over = threading.Event()

    def flood():
        line = here(token["endpoints"][0], token["curve_public"], os.urandom(32))
        while not over.is_set():
            for _ in range(50):
                line.send("ping", wall_ms=1, boot_ms=1, boot_id=bytes(16), backlog=0)
            time.sleep(0.05)
        line.close()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        time.sleep(1)
        monkeypatch.setattr(wire, "Line", lambda endpoint, *keys: here(endpoint.replace("tcp://", "tcp://127.0.0.2:0;"), *keys))
        wire.Branch.join(invitation, 5000)
    finally:
        over.set()
        thread.join()


def test_a_peer_that_never_reads_does_not_hold_others_up(hub_world, peer):
    """It sends pings for ever and takes no answer: the hub's queue for it is bounded."""
    ping = wire.encode_message("ping", backlog=0, **peer.reading())
    peer.line.socket.rcvhwm = 1
    for _ in range(20_000):
        try:
            peer.line.socket.send(ping, zmq.DONTWAIT)
        except zmq.Again:
            break


def test_half_a_handshake_is_cut(hub_world):
    import socket
    hub, idle = hub_world.hub, []
    for _ in range(50):
        s = socket.create_connection(("127.0.0.1", hub.port), 5)
        s.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f\3")
        idle.append(s)
    rubbish = socket.create_connection(("127.0.0.1", hub.port), 5)
    rubbish.sendall(struct.pack(">Q", 7) + os.urandom(500))
    hub_world.branches["north"].customer("during", "王五", mobile(50))
    until(lambda: hub_world.branches["north"].row("customer", "during") == "at headquarters")
    for s in [*idle, rubbish]:
        s.close()
