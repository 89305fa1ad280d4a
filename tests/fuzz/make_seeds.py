#!/usr/bin/python3
"""Writes the seeds of the fuzzers (tests/fuzz/seeds/NAME) from the golden vectors. Run it after the vectors change."""
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../python"))
import tributary_client as trb  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "../../proto/vectors")


def load(name):
    with open(os.path.join(VECTORS, name + ".json"), encoding="utf-8") as f:
        return json.load(f)


def seed(kind, name, data):
    folder = os.path.join(HERE, "seeds", kind)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


for m in load("messages"):
    seed("frame", m["name"], bytes.fromhex(m["frame"]))
batch, ack, token, keyset = load("batch"), load("ack"), load("token"), load("keyset")
for i, c in enumerate(batch["changes"]):
    seed("change", f"change{i}", bytes.fromhex(c["msgpack"]))
sealed = bytes.fromhex(batch["sealed"])
header, _, body = trb.check_shape(sealed)
with open(os.path.join(VECTORS, "batch_zstd.hex"), encoding="ascii") as f:
    zstd = bytes.fromhex(f.read())
zheader, _, zbody = trb.check_shape(zstd)
seed("batch", "sealed", b"\0" + sealed)
seed("batch", "ack", b"\0" + bytes.fromhex(ack["sealed"]))
seed("batch", "parts", b"\1" + struct.pack(">H", len(header)) + header + body)
seed("batch", "parts-zstd", b"\1" + struct.pack(">H", len(zheader)) + zheader + zbody)
seed("batch", "body", b"\2" + body)
seed("token", "token", token["token"].encode())
payload = trb.base64.urlsafe_b64decode(token["token"][5:] + "==")[:-4]
seed("token", "payload", payload)
seed("token", "keyset", bytes.fromhex(keyset["sealed"]))
seed("token", "keyset-payload", trb.check_shape(bytes.fromhex(keyset["sealed"]))[0])
seed("conf", "branch", "# a branch\n[node]\nrole = branch\nsite = site1\nname = 上海\nendpoints = tcp://hub:7600,tcp://h2:7600\n"
     "region = CN\narea_code = 021\n".encode())
seed("conf", "hub", "\ufeff; hub\n[node]\nrole=hub\nname: 总部\nlisten = tcp://0.0.0.0:7600 ; all\nadvertise=tcp://h:7600\njournal=/j\n".encode())
for i, words in enumerate([["status"], ["find", "张三", "--json"], [""], ["w"] * 64, ["w"] * 65, ["x" * 3000]]):
    request = trb.pack(words)
    for piece in (0, 1, 255):
        seed("control", f"words{i}-{piece}", bytes([piece]) + struct.pack(">I", len(request)) + request)
seed("control", "too-long", b"\1\xff\xff\xff\xff" + b"x" * 100)
