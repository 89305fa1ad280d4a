#!/usr/bin/python3
"""An independent Tributary client, written from proto/PROTOCOL.md and proto/TABLES.md alone: it shares no code with the C
implementation and exists to prove that the specification is enough. Section numbers are those of PROTOCOL.md.

As a library: pure functions for every form (msgpack values, batches, acks, keysets, invitations, messages, digests, times)
and the class Branch, a whole branch node in memory. As a program:

    tributary_client.py token TOKEN                   shows what an invitation says
    tributary_client.py join STATE.json TOKEN         enrols; keys and stream are kept in STATE.json
    tributary_client.py customer STATE.json NAME MOBILE...   writes one customer with contacts and waits for the ack
    tributary_client.py listen STATE.json SECONDS     prints the rows that come down, and acknowledges them
"""
import base64
import hashlib
import json
import os
import random
import struct
import sys
import time
import uuid

import msgpack
import nacl.bindings
import nacl.exceptions
import nacl.signing
import xxhash
import zmq
import zmq.utils.monitor
from zmq.utils import z85

try:
    import zstandard
except ImportError:  # optional: only to read compressed batches
    zstandard = None

SOFTWARE = "tributary-python 1"
PROTO = 1
PUT, SET, DELETE, UNDO = 1, 2, 3, 4
CONTINUES, ZSTD, BASELINE = 1, 2, 4
FRAME_MAX, BATCH_MAX, RAW_MAX, CHANGES_MAX, SEGMENTS_MAX = 1130496, 1114112, 1048576, 1000, 64
INT_MAX, INT_MIN, HLC_MAX = 2**63 - 1, -(2**63), 2**63 - 1
HOLDS = {1: "gap", 2: "fork", 3: "bad batch", 4: "suspended", 5: "incarnation", 6: "busy", 7: "cloned"}


class ProtocolError(Exception):
    """What came is not what the specification says."""


class Hold(Exception):
    def __init__(self, code, sequence, text):
        super().__init__(f"hold {code} ({HOLDS.get(code, 'unknown')}) at {sequence}: {text}")
        self.code, self.sequence, self.text = code, sequence, text


class Fault(Exception):
    def __init__(self, code, retry_ms, text):
        super().__init__(f"fault {code}: {text}")
        self.code, self.retry_ms, self.text = code, retry_ms, text


# ---- 1. msgpack ----

def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def check_shape(data):
    """One value, at most 16 deep, no extension types, nothing behind it. (msgpack bounds container sizes by itself.)"""
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False, unicode_errors="surrogateescape", use_list=True, max_ext_len=0)
    except Exception as error:  # it raises a dozen kinds
        raise ProtocolError(f"not msgpack: {error}") from None

    def walk(v, depth):
        if isinstance(v, msgpack.Timestamp) or isinstance(v, msgpack.ExtType):
            raise ProtocolError("extension type")
        if isinstance(v, (list, dict)):
            if depth == 16:
                raise ProtocolError("nested too deeply")
            for item in (v if isinstance(v, list) else [*v.keys(), *v.values()]):
                walk(item, depth + 1)

    walk(value, 0)
    return value


def expect(condition, what):
    if not condition:
        raise ProtocolError(what)


def is_uint(v, maximum=INT_MAX):
    return isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= maximum


def is_int(v):
    return isinstance(v, int) and not isinstance(v, bool) and INT_MIN <= v <= INT_MAX


def is_bin(v, size=None):
    return isinstance(v, bytes) and (size is None or len(v) == size)


# ---- 3. keys and signatures ----

def sha256(data):
    return hashlib.sha256(data).digest()


def sign(seed, domain, data):
    return nacl.signing.SigningKey(seed).sign(domain.encode() + b"\0" + data).signature


def verify(public, domain, data, signature):
    try:
        nacl.signing.VerifyKey(public).verify(domain.encode() + b"\0" + data, signature)
        return True
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False


def sign_public(seed):
    return bytes(nacl.signing.SigningKey(seed).verify_key)


def curve_public(secret):
    return nacl.bindings.crypto_scalarmult_base(secret)


def seal_envelope(seed, domain, payload):
    return pack([payload, sign(seed, domain, payload)])


def open_envelope(public, domain, data):
    parts = check_shape(data)
    expect(isinstance(parts, list) and len(parts) == 2 and is_bin(parts[0]) and is_bin(parts[1], 64), "not an envelope")
    expect(verify(public, domain, parts[0], parts[1]), "not signed by the key awaited")
    return check_shape(parts[0])


# ---- 4. invitation, 5. keyset ----

def check_endpoints(endpoints):
    expect(isinstance(endpoints, list) and 1 <= len(endpoints) <= 4, "endpoints")
    for e in endpoints:
        expect(isinstance(e, str) and e.startswith("tcp://") and len(e) <= 120, "endpoint")


def encode_token(token):
    payload = pack([1, token["root_public"], token["curve_public"], token["invitation"], token["secret"], token["site"],
                    token["expires_ms"], token["endpoints"]])
    return "trb1." + base64.urlsafe_b64encode(payload + sha256(payload)[:4]).decode().rstrip("=")


def parse_token(text):
    text = text.strip()
    expect(text.startswith("trb1.") and len(text) <= 1024, "not an invitation")
    digits = text[5:]
    data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    payload, check = data[:-4], data[-4:]
    expect(sha256(payload)[:4] == check, "the invitation is mistyped or cut short")
    fields = check_shape(payload)
    expect(isinstance(fields, list) and len(fields) == 8 and fields[0] == 1, "an invitation of another version")
    names = ("root_public", "curve_public", "invitation", "secret", "site", "expires_ms", "endpoints")
    token = dict(zip(names, fields[1:]))
    expect(is_bin(token["root_public"], 32) and is_bin(token["curve_public"], 32), "keys")
    expect(is_bin(token["invitation"], 16) and is_bin(token["secret"], 32), "invitation")
    check_endpoints(token["endpoints"])
    return token


def seal_keyset(root_seed, keyset):
    return seal_envelope(root_seed, "tributary keyset v1", pack(
        [1, keyset["version"], keyset["root_public"], keyset["sign_public"], keyset["curve_public"], keyset["curve_next"],
         keyset["endpoints"]]))


def open_keyset(data, root_public):
    fields = open_envelope(root_public, "tributary keyset v1", data)
    expect(isinstance(fields, list) and len(fields) == 7 and fields[0] == 1, "a keyset of another version")
    names = ("version", "root_public", "sign_public", "curve_public", "curve_next", "endpoints")
    keyset = dict(zip(names, fields[1:]))
    expect(is_uint(keyset["version"]) and keyset["root_public"] == root_public, "the keyset of another root")
    expect(is_bin(keyset["sign_public"], 32) and is_bin(keyset["curve_public"], 32), "keys")
    expect(keyset["curve_next"] is None or is_bin(keyset["curve_next"], 32), "keys")
    check_endpoints(keyset["endpoints"])
    return keyset


# ---- 8. messages: name -> number, sender, fields (u uint, i int, sN str, bN bin, fN bin of N) ----

MESSAGES = {
    "hello": (1, "B", "proto_min:u proto_max:u software:s64 incarnation:f16 last_sequence:u last_hash:f32 wall_ms:i boot_ms:i "
                      "boot_id:f16 down_epoch:f16 down_version:u"),
    "welcome": (2, "H", "proto:u epoch:f16 hub_ms:i site:s32 acked_sequence:u acked_hash:f32 safe_sequence:u credit:u keys:b4096"),
    "batch": (3, "B", "sealed:b1114112 ack:b4096"),
    "ack": (4, "H", "sequence:u safe_sequence:u credit:u acks:b262144"),
    "hold": (5, "H", "code:u sequence:u text:s400"),
    "down": (6, "H", "epoch:f16 after:u version:u flags:u rows:b1048576"),
    "down_ack": (7, "B", "epoch:f16 version:u"),
    "ping": (8, "B", "wall_ms:i boot_ms:i boot_id:f16 backlog:u"),
    "pong": (9, "H", "boot_ms:i hub_ms:i safe_sequence:u"),
    "join": (10, "G", "proto_min:u proto_max:u invitation:f16 secret:f32 curve_public:f32 sign_public:f32 software:s64 proof:f64"),
    "joined": (11, "H", "site:s32 incarnation:f16 hub_ms:i keys:b4096 region:s8 area_code:s8"),
    "new_stream": (12, "B", "parent:f16 sequence:u hash:f32 why:u"),
    "stream_granted": (13, "H", "incarnation:f16 parent:f16 sequence:u"),
    "rotate": (14, "B", "curve_public:f32 sign_public:f32 signature_old:f64 signature_new:f64"),
    "rotated": (15, "H", "curve_public:f32 sign_public:f32"),
    "keys": (16, "H", "keys:b4096"),
    "fault": (17, "H", "code:u retry_ms:u text:s400"),
}
FIELDS = {name: [field.split(":") for field in spec.split()] for name, (_, _, spec) in MESSAGES.items()}
NAMES = {number: name for name, (number, _, _) in MESSAGES.items()}


def field_fits(kind, value):
    size = int(kind[1:] or 0)
    if kind == "u":
        return is_uint(value)
    if kind == "i":
        return is_int(value)
    if kind[0] == "s":
        try:
            return isinstance(value, str) and len(value.encode()) <= size
        except UnicodeEncodeError:  # was not UTF-8
            return False
    return is_bin(value) and (len(value) == size if kind[0] == "f" else len(value) <= size)


def encode_message(name, **fields):
    out = [MESSAGES[name][0]]
    for field, kind in FIELDS[name]:
        expect(field_fits(kind, fields[field]), f"{name}.{field}")
        out.append(fields[field])
    return pack(out)


def decode_message(frame):
    expect(len(frame) <= FRAME_MAX, "frame too large")
    items = check_shape(frame)
    expect(isinstance(items, list) and items and is_uint(items[0]), "not a message")
    name = NAMES.get(items[0])
    expect(name, f"unknown message {items[0]}")
    expect(len(items) > len(FIELDS[name]), f"{name}: too few fields")
    message = {}
    for (field, kind), value in zip(FIELDS[name], items[1:]):  # further fields are of a newer peer
        expect(field_fits(kind, value), f"{name}.{field}")
        message[field] = value
    return name, message


# ---- 9. batches ----

def encode_change(change):
    """change: dict table, op, mark (index), id, cells [(column, mark index, value), ...]."""
    flat = [change["table"], change["op"], change["mark"], change["id"]]
    for column, mark, value in change["cells"]:
        flat += [column, mark, value]
    return flat


def decode_change(flat, mark_count):
    expect(isinstance(flat, list) and len(flat) >= 4 and (len(flat) - 4) % 3 == 0, "shape of a change")
    table, op, mark, row_id = flat[:4]
    expect(is_uint(table, 65535) and op in (PUT, SET, DELETE, UNDO) and isinstance(row_id, str), "change")
    expect(is_uint(mark) and mark < mark_count, "mark of a change")
    cells, last = [], 0
    for column, cell_mark, value in zip(flat[4::3], flat[5::3], flat[6::3]):
        expect(is_uint(column, 65535) and column > last, "columns ascend")
        expect(is_uint(cell_mark) and cell_mark < mark_count, "mark of a cell")
        expect(value is None or is_int(value) or isinstance(value, (float, str, bytes)) and not isinstance(value, bool), "value")
        cells.append((column, cell_mark, value))
        last = column
    expect(not cells or op in (PUT, SET), "a delete has no columns")
    return {"table": table, "op": op, "mark": mark, "id": row_id, "cells": cells}


def signed64(v):
    v &= 2**64 - 1
    return v - 2**64 if v >= 2**63 else v


def encode_body(marks, changes):
    flat, number, wall = [], 0, 0
    for n, w in marks:
        flat += [n - number, signed64(w - wall)]
        number, wall = n, w
    return pack([flat, [encode_change(c) for c in changes]])


def decode_marks(flat, last_mark):
    expect(isinstance(flat, list) and len(flat) % 2 == 0, "marks")
    marks, number, wall = [], 0, 0
    for step, difference in zip(flat[::2], flat[1::2]):
        expect(is_uint(step) and step >= 1 and is_int(difference), "a mark")
        number, wall = number + step, signed64(wall + difference)
        expect(number <= last_mark, "a mark beyond last_mark")
        marks.append((number, wall))
    return marks


SEGMENT_KEYS = ("first_mark", "wall_ms", "boot_ms", "boot_id", "hub_minus_boot_ms")


def seal_batch(seed, header, marks, changes):
    """header: dict site, incarnation, sequence, previous, flags, last_mark, sealed_ms, segments (dicts), digests
    [(table, rows, sum)]. Gives (sealed, hash). The body is not compressed, which is always allowed."""
    body = encode_body(marks, changes)
    expect(len(body) <= RAW_MAX and len(changes) <= CHANGES_MAX, "too large for one batch")
    raw = pack([1, header["site"], header["incarnation"], header["sequence"], header["previous"], header["flags"],
                header["last_mark"], len(changes), len(body), sha256(body), header["sealed_ms"],
                [[s[k] for k in SEGMENT_KEYS] for s in header["segments"]], [list(d) for d in header["digests"]]])
    return pack([raw, sign(seed, "tributary batch v1", raw), body]), sha256(raw)


def open_batch(sealed, public):
    """Gives dict of header fields, marks, changes, hash."""
    expect(len(sealed) <= BATCH_MAX, "batch too large")
    parts = check_shape(sealed)
    expect(isinstance(parts, list) and len(parts) == 3 and is_bin(parts[0]) and is_bin(parts[1], 64) and is_bin(parts[2]),
           "not a batch")
    raw, signature, body = parts
    expect(verify(public, "tributary batch v1", raw, signature), "the batch's signature")
    fields = check_shape(raw)
    expect(isinstance(fields, list) and len(fields) == 13 and fields[0] == 1, "header")
    names = ("version", "site", "incarnation", "sequence", "previous", "flags", "last_mark", "change_count", "raw_bytes", "body_hash",
             "sealed_ms", "segments", "digests")
    batch = dict(zip(names, fields))
    expect(is_bin(batch["incarnation"], 16) and is_uint(batch["sequence"]) and batch["sequence"] >= 1, "header")
    expect((batch["previous"] == bytes(32)) == (batch["sequence"] == 1), "place in the chain")
    expect(batch["flags"] & ~7 == 0 and is_uint(batch["raw_bytes"], RAW_MAX), "header")
    expect(sha256(body) == batch["body_hash"], "the body's hash")
    if batch["flags"] & ZSTD:
        body = zstandard.ZstdDecompressor().decompress(body, max_output_size=batch["raw_bytes"])
    expect(len(body) == batch["raw_bytes"], "the body's size")
    content = check_shape(body)
    expect(isinstance(content, list) and len(content) == 2, "body")
    batch["segments"] = [dict(zip(SEGMENT_KEYS, s)) for s in batch["segments"]]
    batch["marks"] = decode_marks(content[0], batch["last_mark"])
    expect(len(content[1]) == batch["change_count"] <= CHANGES_MAX, "number of changes")
    batch["changes"] = [decode_change(c, len(batch["marks"])) for c in content[1]]
    batch["hash"] = sha256(raw)
    return batch


# ---- 10. acks ----

def seal_ack(hub_seed, ack):
    return seal_envelope(hub_seed, "tributary ack v1", pack(
        [1, ack["site"], ack["incarnation"], ack["sequence"], ack["hash"], ack["commit"], ack["limit"], ack["base"],
         [list(pair) for pair in ack["corrections"]]]))


def open_ack(data, hub_public):
    expect(len(data) <= 4096, "ack too large")
    fields = open_envelope(hub_public, "tributary ack v1", data)
    expect(isinstance(fields, list) and len(fields) == 9 and fields[0] == 1, "an ack of another version")
    ack = dict(zip(("site", "incarnation", "sequence", "hash", "commit", "limit", "base", "corrections"), fields[1:]))
    expect(is_uint(ack["sequence"]) and is_bin(ack["hash"], 32) and all(is_uint(ack[k]) for k in ("commit", "limit", "base")), "ack")
    expect(all(len(p) == 2 and is_int(p[0]) and isinstance(p[1], bool) for p in ack["corrections"]), "corrections")
    return ack


# ---- 11. time ----

def corrections(segments, session):
    """session: None (by file) or dict boot_ms, boot_id, hub_ms. What the hub does; here to check it."""
    result = []
    for s in segments:
        if session and session["boot_id"] == s["boot_id"]:
            offset = session["hub_ms"] - session["boot_ms"]
        elif s["hub_minus_boot_ms"] is not None:
            offset = s["hub_minus_boot_ms"]
        else:
            result.append((0, False))
            continue
        result.append((max(INT_MIN, min(INT_MAX, offset + s["boot_ms"] - s["wall_ms"])), True))
    return result


def effective_times(marks, segments, ack):
    """HLC of each mark; ack: dict limit, base, corrections."""
    times, previous = [], ack["base"]
    for number, wall in marks:
        at = max([i for i, s in enumerate(segments) if s["first_mark"] <= number], default=0)
        correction = ack["corrections"][at][0] if ack["corrections"] else 0
        ms = max(0, min(2**47 - 1, wall + correction))
        previous = min(ack["limit"], max(ms << 16, min(previous + 1, HLC_MAX)))
        times.append(previous)
    return times


# ---- 12. digests ----

def digest_cell(table, row_id, column, value=None):
    if column and value is None:
        return 0
    name = row_id.encode()
    data = struct.pack(">HHH", table, column, len(name)) + name + (pack(value) if column else b"")
    return xxhash.xxh64(data, seed=0).intdigest() or 1


def digest_row(table, row_id, values):
    """values: {column: value}."""
    return (digest_cell(table, row_id, 0) + sum(digest_cell(table, row_id, c, v) for c, v in values.items())) % 2**64


# ---- a branch in memory ----

def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
        return uuid.UUID(f.read().strip()).bytes


class Line:
    """One CURVE connection (2)."""

    def __init__(self, endpoint, server_public, secret):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        s = self.socket
        s.linger, s.maxmsgsize, s.immediate = 0, FRAME_MAX, 1
        s.heartbeat_ivl, s.heartbeat_timeout, s.handshake_ivl = 5000, 15000, 5000
        s.curve_serverkey = z85.encode(server_public)
        s.curve_publickey = z85.encode(curve_public(secret))
        s.curve_secretkey = z85.encode(secret)
        s.connect(endpoint)

    def send(self, name, timeout_ms=10000, **fields):
        if not self.socket.poll(timeout_ms, zmq.POLLOUT):
            raise TimeoutError("the hub cannot be reached")
        self.socket.send(encode_message(name, **fields))

    def receive(self, timeout_ms):
        """(name, message), or None after the timeout."""
        if not self.socket.poll(max(0, int(timeout_ms)), zmq.POLLIN):
            return None
        frames = self.socket.recv_multipart()
        expect(len(frames) == 1, "more than one frame")
        return decode_message(frames[0])

    def close(self):
        self.socket.close(0)


class Branch:
    """A branch node: its keys, its stream, its rows, and what came down. `state` is a plain dict that save() can write."""

    def __init__(self, state):
        self.state = state
        self.line = None
        self.welcome = None
        self.offset_ms = None  # hub minus boot, measured
        self.round_trip_ms = None
        self.down = []  # rows received: (table, op, id, version, {column: value})
        self.boot_id = boot_id()
        self.clock_error_ms = 0  # a test makes the wall clock wrong

    # -- clock --

    def reading(self):
        return {"wall_ms": int(time.time() * 1000) + self.clock_error_ms,
                "boot_ms": int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000), "boot_id": self.boot_id}

    # -- enrolment (6) --

    @classmethod
    def join(cls, token_text, timeout_ms=15000, keys=None):
        token = parse_token(token_text)
        secret, seed = keys or (os.urandom(32), os.urandom(32))
        line = Line(token["endpoints"][0], token["curve_public"], secret)
        try:
            fields = {"proto_min": PROTO, "proto_max": PROTO, "invitation": token["invitation"], "secret": token["secret"],
                      "curve_public": curve_public(secret), "sign_public": sign_public(seed), "software": SOFTWARE}
            line.send("join", proof=sign(seed, "tributary join v1", pack(list(fields.values()))), **fields)
            answer = line.receive(timeout_ms)
            if answer is None:
                raise TimeoutError("the hub did not answer JOIN")
            name, joined = answer
            if name == "fault":
                raise Fault(joined["code"], joined["retry_ms"], joined["text"])
            expect(name == "joined", f"{name} in answer to join")
        finally:
            line.close()
        open_keyset(joined["keys"], token["root_public"])  # before anything else is believed
        return cls({"site": joined["site"], "root_public": token["root_public"], "keyset": joined["keys"], "curve_secret": secret,
                    "sign_seed": seed, "incarnation": joined["incarnation"], "batches": [], "acked": 0, "safe": 0,
                    "last_mark": 0, "rows": {}, "down_epoch": bytes(16), "down_version": 0})

    def keyset(self):
        return open_keyset(self.state["keyset"], self.state["root_public"])

    # -- session (7) --

    def last(self):
        batches = self.state["batches"]
        return (len(batches), batches[-1]["hash"]) if batches else (0, bytes(32))

    def connect(self, timeout_ms=15000, endpoint=None):
        keyset = self.keyset()
        self.close()
        self.line = Line(endpoint or keyset["endpoints"][0], keyset["curve_public"], self.state["curve_secret"])
        return self.hello(timeout_ms)

    def hello(self, timeout_ms=15000, incarnation=None):
        sequence, last_hash = self.last()
        self.hello_reading = self.reading()
        self.line.send("hello", proto_min=PROTO, proto_max=PROTO, software=SOFTWARE,
                       incarnation=incarnation or self.state["incarnation"], last_sequence=sequence, last_hash=last_hash,
                       down_epoch=self.state["down_epoch"], down_version=self.state["down_version"], **self.hello_reading)
        self.welcome = self.wait_for("welcome", timeout_ms)
        expect(self.welcome["site"] == self.state["site"], "the hub takes us for somebody else")
        self.take_keys(self.welcome["keys"])
        self.measure(self.hello_reading["boot_ms"], self.welcome["hub_ms"])
        self.state["safe"] = self.welcome["safe_sequence"]
        return self.welcome

    def take_keys(self, sealed):
        keyset = open_keyset(sealed, self.state["root_public"])
        if keyset["version"] > self.keyset()["version"]:
            self.state["keyset"] = sealed

    def measure(self, sent_boot_ms, hub_ms):
        trip = self.reading()["boot_ms"] - sent_boot_ms
        if trip >= 0 and (self.round_trip_ms is None or trip <= self.round_trip_ms):
            self.round_trip_ms, self.offset_ms = trip, hub_ms - (sent_boot_ms + trip // 2)

    def wait_for(self, wanted, timeout_ms):
        """Handles what comes until a `wanted` message is there."""
        deadline = time.monotonic() + timeout_ms / 1000
        while (left := deadline - time.monotonic()) > 0:
            got = self.line.receive(left * 1000)
            if got is None:
                break
            name, message = got
            if name == wanted:
                return message
            self.handle(name, message)
        raise TimeoutError(f"no {wanted} within {timeout_ms} ms")

    def handle(self, name, message):
        if name == "ack":
            self.on_ack(message)
        elif name == "down":
            self.on_down(message)
        elif name == "pong":
            self.measure(message["boot_ms"], message["hub_ms"])
        elif name == "keys":
            self.take_keys(message["keys"])
        elif name == "hold":
            raise Hold(message["code"], message["sequence"], message["text"])
        elif name == "fault":
            raise Fault(message["code"], message["retry_ms"], message["text"])

    def ping(self, timeout_ms=10000):
        self.line.send("ping", backlog=len(self.state["batches"]) - self.state["acked"], **self.reading())
        pong = self.wait_for("pong", timeout_ms)
        self.measure(pong["boot_ms"], pong["hub_ms"])
        return pong

    # -- up (9, 10, 12) --

    def seal(self, changes, segments=None, flags=0):
        """changes: [(table, op, id, {column: value})]. One mark for each; becomes the next batch of the stream."""
        reading = self.reading()
        first = self.state["last_mark"] + 1
        marks = [(first + i, reading["wall_ms"] + i) for i in range(len(changes))]
        rows, touched = self.state["rows"], set()
        for table, op, row_id, values in changes:
            key = f"{table}/{row_id}"
            touched.add(table)
            if op == PUT:
                rows[key] = {c: v for c, v in values.items() if v is not None}
            elif op == SET:
                rows[key] = {c: v for c, v in {**rows.get(key, {}), **values}.items() if v is not None}
            else:
                rows.pop(key, None)
        digests = []
        for table in sorted(touched):
            mine = [(k.split("/", 1)[1], v) for k, v in rows.items() if k.startswith(f"{table}/")]
            digests.append((table, len(mine), sum(digest_row(table, row_id, v) for row_id, v in mine) % 2**64))
        sequence, previous = self.last()
        segments = segments or [{"first_mark": first, "hub_minus_boot_ms": self.offset_ms, **reading}]
        header = {"site": self.state["site"], "incarnation": self.state["incarnation"], "sequence": sequence + 1, "previous": previous,
                  "flags": flags, "last_mark": first + len(changes) - 1, "sealed_ms": reading["wall_ms"], "segments": segments,
                  "digests": digests}
        flat = [{"table": t, "op": op, "mark": i, "id": row_id, "cells": [(c, i, v) for c, v in sorted(values.items())]}
                for i, (t, op, row_id, values) in enumerate(changes)]
        sealed, batch_hash = seal_batch(self.state["sign_seed"], header, marks, flat)
        self.state["last_mark"] = header["last_mark"]
        self.state["batches"].append({"sealed": sealed, "hash": batch_hash, "ack": b""})
        return sequence + 1

    def send(self, sequence):
        batch = self.state["batches"][sequence - 1]
        self.line.send("batch", sealed=batch["sealed"], ack=batch["ack"])

    def on_ack(self, message):
        acks = check_shape(message["acks"]) if message["acks"] else []
        expect(isinstance(acks, list) and len(acks) <= 64, "acks")
        hub_public = self.keyset()["sign_public"]
        opened = [(open_ack(data, hub_public), data) for data in acks]
        for i, (ack, data) in enumerate(opened):
            batch = self.state["batches"][ack["sequence"] - 1]
            expect(ack["sequence"] == message["sequence"] - len(acks) + 1 + i, "acks in order, ending with the sequence")
            expect(ack["site"] == self.state["site"] and ack["incarnation"] == self.state["incarnation"], "an ack of another stream")
            expect(ack["hash"] == batch["hash"], "an ack of another batch")
            expect(batch["ack"] in (b"", data), "an ack that says something else than before")
            mine = open_batch(batch["sealed"], sign_public(self.state["sign_seed"]))
            expect(len(ack["corrections"]) == len(mine["segments"]), "corrections")
            batch["ack"] = data
            batch["times"] = effective_times(mine["marks"], mine["segments"], ack)
        self.state["acked"] = max(self.state["acked"], message["sequence"])
        self.state["safe"] = message["safe_sequence"]

    def flush(self, timeout_ms=20000):
        """Sends what is not acknowledged and waits until all of it is."""
        total = len(self.state["batches"])
        for sequence in range(min(self.state["acked"], self.welcome["acked_sequence"]) + 1, total + 1):
            self.send(sequence)
        deadline = time.monotonic() + timeout_ms / 1000
        while any(not b["ack"] for b in self.state["batches"]):
            left = deadline - time.monotonic()
            got = self.line.receive(left * 1000) if left > 0 else None
            if got is None:
                raise TimeoutError(f"acknowledged {self.state['acked']} of {total}")
            self.handle(*got)

    # -- streams (16) --

    def new_stream(self, why=1, timeout_ms=15000):
        sequence, last_hash = self.last()
        parent = self.state["incarnation"]
        self.line.send("new_stream", parent=parent, sequence=sequence, hash=last_hash, why=why)
        granted = self.wait_for("stream_granted", timeout_ms)
        expect(granted["parent"] == parent, "a stream of another parent")
        self.state.update(incarnation=granted["incarnation"], batches=[], acked=0)
        return self.hello(timeout_ms)

    def rotate(self, timeout_ms=15000):
        secret, seed = os.urandom(32), os.urandom(32)
        new = curve_public(secret) + sign_public(seed)
        self.line.send("rotate", curve_public=new[:32], sign_public=new[32:],
                       signature_old=sign(self.state["sign_seed"], "tributary rotate v1", new),
                       signature_new=sign(seed, "tributary rotate v1", new))
        rotated = self.wait_for("rotated", timeout_ms)
        expect(rotated["curve_public"] + rotated["sign_public"] == new, "rotated to other keys")
        self.state.update(curve_secret=secret, sign_seed=seed)

    # -- down (13) --

    def on_down(self, message):
        held_epoch, held = self.state["down_epoch"], self.state["down_version"]
        follows = message["epoch"] == held_epoch and message["after"] <= held < message["version"]
        if follows or message["flags"] & 2:
            for row in check_shape(message["rows"]) if message["rows"] else []:
                expect(isinstance(row, list) and len(row) >= 5 and row[1] in (1, 3) and len(row[4]) % 2 == 0, "a down row")
                table, op, row_id, version, flat = row[:5]
                expect(version <= message["version"], "a down row beyond its version")
                self.down.append((table, op, row_id, version, dict(zip(flat[::2], flat[1::2]))))
            self.state["down_epoch"], self.state["down_version"] = message["epoch"], message["version"]
        self.line.send("down_ack", epoch=self.state["down_epoch"], version=self.state["down_version"])

    def listen(self, seconds, until=None):
        """Handles what comes for a while, or until `until()` is true."""
        deadline = time.monotonic() + seconds
        last_ping = time.monotonic()
        while (left := deadline - time.monotonic()) > 0 and not (until and until()):
            if time.monotonic() - last_ping > 10:
                self.line.send("ping", backlog=0, **self.reading())
                last_ping = time.monotonic()
            got = self.line.receive(min(left, 1) * 1000)
            if got:
                self.handle(*got)
        return not until or until()

    def close(self):
        if self.line:
            self.line.close()
            self.line = None

    # -- state in a file --

    def save(self, path):
        with open(path + ".new", "w", encoding="utf-8") as f:
            json.dump(self.state, f, default=lambda b: {"hex": b.hex()}, ensure_ascii=False)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(path + ".new", 0o600)
        os.replace(path + ".new", path)

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            state = json.load(f, object_hook=lambda o: bytes.fromhex(o["hex"]) if set(o) == {"hex"} else o)
        state["rows"] = {k: {int(c): v for c, v in row.items()} for k, row in state["rows"].items()}
        return cls(state)


# Numbers of TABLES.md that the program below needs.
CUSTOMER, CONTACT = 1, 3
CUSTOMER_COLUMNS = {"created_at": 1, "kind": 4, "name": 5}
CONTACT_COLUMNS = {"created_at": 1, "customer_id": 4, "kind": 6, "value": 7}


def customer_changes(name, contacts, customer_id=None):
    """A person with contacts [(kind, value)], as changes for Branch.seal."""
    now = int(time.time() * 1000)
    customer_id = customer_id or str(uuid.UUID(int=random.getrandbits(128), version=4))
    changes = [(CUSTOMER, PUT, customer_id, {1: now, 4: "person", 5: name})]
    for i, (kind, value) in enumerate(contacts):
        changes.append((CONTACT, PUT, f"{customer_id}-{i}", {1: now, 4: customer_id, 6: kind, 7: value}))
    return changes


def main(words):
    if len(words) == 2 and words[0] == "token":
        token = parse_token(words[1])
        print(f"site {token['site']}, hub {', '.join(token['endpoints'])}, root {token['root_public'].hex()}")
    elif len(words) == 3 and words[0] == "join":
        branch = Branch.join(words[2])
        branch.save(words[1])
        print(f"joined as {branch.state['site']}")
    elif len(words) >= 4 and words[0] == "customer":
        branch = Branch.load(words[1])
        branch.connect()
        branch.ping()
        branch.seal(customer_changes(words[2], [("mobile", m) for m in words[3:]]))
        branch.save(words[1])  # sealed and on disk before it is sent
        branch.flush()
        branch.save(words[1])
        print(f"acknowledged {branch.state['acked']}, effective {branch.state['batches'][-1]['times'][0] >> 16} ms")
    elif len(words) == 3 and words[0] == "listen":
        branch = Branch.load(words[1])
        branch.connect()
        branch.listen(float(words[2]))
        branch.save(words[1])
        for table, op, row_id, version, values in branch.down:
            print(version, table, "put" if op == 1 else "withdraw", row_id, values)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
