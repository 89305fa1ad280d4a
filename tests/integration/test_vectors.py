"""The golden vectors of proto/vectors, checked by code that shares nothing with the C implementation."""
import json
import os
import re
import struct
import sys

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "../..")
sys.path.insert(0, os.path.join(ROOT, "tests/python"))

import tributary_client as trb  # noqa: E402


def load(name):
    with open(os.path.join(ROOT, "proto/vectors", name + ".json"), encoding="utf-8") as f:
        return json.load(f)


def value_of(v):
    (kind, content), = v.items()
    return {"null": lambda: None, "int": lambda: int(content), "real_bits": lambda: struct.unpack(">d", bytes.fromhex(content))[0],
            "text_utf8": lambda: bytes.fromhex(content).decode(), "blob": lambda: bytes.fromhex(content)}[kind]()


def segments_of(v):
    return [{**s, "boot_id": bytes.fromhex(s["boot_id"])} for s in v["segments"]]


def acceptance_of(v):
    return {"commit": int(v["commit"]), "limit": int(v["limit"]), "base": int(v["base"]),
            "corrections": [(int(c), verified) for c, verified in v["corrections"]]}


def test_msgpack_values_are_canonical():
    for v in load("msgpack"):
        assert trb.pack(value_of(v["value"])).hex() == v["msgpack"]


def test_digest_cells():
    for v in load("digest"):
        assert trb.digest_cell(v["table"], v["id"], v["column"], value_of(v["value"])) == int(v["hash"])


def test_corrections_and_effective_times():
    cases = load("effective_times")
    assert len(cases) >= 5
    for v in cases:
        session = v["session"] and {**v["session"], "boot_id": bytes.fromhex(v["session"]["boot_id"])}
        accepted = acceptance_of(v)
        assert trb.corrections(segments_of(v), session) == accepted["corrections"], v["what"]
        assert trb.effective_times(v["marks"], segments_of(v), accepted) == [int(t) for t in v["effective"]], v["what"]


def test_batch_opens_and_is_sealed_to_the_same_bytes():
    v = load("batch")
    sealed, public, seed = (bytes.fromhex(v[k]) for k in ("sealed", "site_public", "site_seed"))
    assert trb.sign_public(seed) == public
    batch = trb.open_batch(sealed, public)
    assert batch["hash"].hex() == v["hash"] and batch["body_hash"].hex() == v["body_hash"]
    for name in ("site", "sequence", "flags", "last_mark", "change_count", "raw_bytes", "sealed_ms"):
        assert batch[name] == v[name], name
    assert batch["incarnation"].hex() == v["incarnation"] and batch["previous"].hex() == v["previous"]
    assert batch["segments"] == segments_of(v)
    assert batch["marks"] == [tuple(m) for m in v["marks"]]
    assert batch["digests"] == [[d["table"], d["rows"], int(d["sum"])] for d in v["digests"]]
    changes = [{**{k: c[k] for k in ("table", "op", "mark", "id")},
                "cells": [(x["column"], x["mark"], value_of(x["value"])) for x in c["cells"]]} for c in v["changes"]]
    assert batch["changes"] == changes
    assert [trb.pack(trb.encode_change(c)).hex() for c in changes] == [c["msgpack"] for c in v["changes"]]
    header = {**batch, "digests": [tuple(d) for d in batch["digests"]]}
    again, batch_hash = trb.seal_batch(seed, header, batch["marks"], changes)
    assert again == sealed and batch_hash == batch["hash"]


def test_batch_digests_follow_from_its_rows():
    v = load("batch")
    sums = {}
    for c in v["changes"]:
        if c["op"] in (trb.PUT, trb.SET):
            row = {x["column"]: value_of(x["value"]) for x in c["cells"]}
            sums[c["table"]] = (sums.get(c["table"], 0) + trb.digest_row(c["table"], c["id"], row)) % 2**64
    assert sums == {d["table"]: int(d["sum"]) for d in v["digests"]}


def test_batch_is_refused_when_any_byte_changes():
    v = load("batch")
    sealed, public = bytearray.fromhex(v["sealed"]), bytes.fromhex(v["site_public"])
    for i in range(len(sealed)):
        sealed[i] ^= 0x40
        with pytest.raises(trb.ProtocolError):
            trb.open_batch(bytes(sealed), public)
        sealed[i] ^= 0x40


def test_zstd_batch_opens():
    if trb.zstandard is None:
        pytest.skip("python3-zstandard is not installed")
    with open(os.path.join(ROOT, "proto/vectors/batch_zstd.hex"), encoding="ascii") as f:
        batch = trb.open_batch(bytes.fromhex(f.read()), bytes.fromhex(load("batch")["site_public"]))
    assert batch["flags"] & trb.ZSTD and len(batch["changes"]) == 200
    rows = [trb.digest_row(c["table"], c["id"], {column: v for column, _, v in c["cells"]}) for c in batch["changes"]]
    assert batch["digests"] == [[1, 200, sum(rows) % 2**64]]


def test_ack_opens_and_gives_the_effective_times():
    v, batch = load("ack"), load("batch")
    sealed, public, seed = (bytes.fromhex(v[k]) for k in ("sealed", "hub_public", "hub_seed"))
    ack = trb.open_ack(sealed, public)
    assert ack["hash"].hex() == v["hash"] == batch["hash"] and ack["sequence"] == v["sequence"] and ack["site"] == v["site"]
    assert ack["incarnation"].hex() == v["incarnation"]
    accepted = acceptance_of(v)
    assert {k: ack[k] for k in ("commit", "limit", "base")} == {k: accepted[k] for k in ("commit", "limit", "base")}
    assert [tuple(c) for c in ack["corrections"]] == accepted["corrections"]
    assert trb.effective_times(batch["marks"], segments_of(batch), ack) == [int(t) for t in v["effective"]]
    assert trb.seal_ack(seed, ack) == sealed
    with pytest.raises(trb.ProtocolError):
        trb.open_ack(sealed, bytes.fromhex(batch["site_public"]))


def test_token_parses_and_is_made_again():
    v = load("token")
    token = trb.parse_token("  " + v["token"] + "\n")
    assert token["site"] == v["site"] and token["endpoints"] == v["endpoints"] and token["expires_ms"] == v["expires_ms"]
    for name in ("root_public", "curve_public", "invitation", "secret"):
        assert token[name].hex() == v[name]
    assert trb.encode_token(token) == v["token"]
    for i in range(5, len(v["token"])):
        other = "A" if v["token"][i] != "A" else "B"
        with pytest.raises(Exception):
            trb.parse_token(v["token"][:i] + other + v["token"][i + 1:])


def test_keyset_opens_for_its_root_only():
    v = load("keyset")
    sealed, root = bytes.fromhex(v["sealed"]), bytes.fromhex(v["root_public"])
    keyset = trb.open_keyset(sealed, root)
    assert keyset["version"] == v["version"] and keyset["endpoints"] == v["endpoints"]
    for name in ("sign_public", "curve_public", "curve_next"):
        assert keyset[name].hex() == v[name]
    assert trb.seal_keyset(bytes.fromhex(v["root_seed"]), keyset) == sealed
    with pytest.raises(trb.ProtocolError):
        trb.open_keyset(sealed, bytes.fromhex(v["sign_public"]))


def test_every_message_decodes_and_encodes():
    messages = load("messages")
    assert {m["name"]: (m["number"], m["from"]) for m in messages} == {n: (s[0], s[1]) for n, s in trb.MESSAGES.items()}
    for m in messages:
        fields = {name: bytes.fromhex(v["bin"]) if isinstance(v, dict) and "bin" in v else v["str"] if isinstance(v, dict) else v
                  for name, v in m["fields"]}
        frame = bytes.fromhex(m["frame"])
        assert trb.decode_message(frame) == (m["name"], fields)
        assert trb.encode_message(m["name"], **fields) == frame


def test_messages_of_the_client_are_those_of_the_definition():
    """messages.def, PROTOCOL.md (checked by test_wire.c) and the client's own table agree, limits included."""
    with open(os.path.join(ROOT, "proto/messages.def"), encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    found = {}
    for name, number, sender, body in re.findall(r"TRB_MESSAGE\((\w+), (\d+), '(\w)'\)(.*?)TRB_END", text, flags=re.S):
        fields = [f"{field}:{kind.lower()}{size}" for kind, field, size in re.findall(r"([UISBF])\((\w+)(?:, (\d+))?\)", body)]
        found[name] = (int(number), sender, " ".join(fields))
    assert found == trb.MESSAGES
