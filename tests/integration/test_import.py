"""CSV into a branch: the sample generator, and the sample customers from files to unified customers."""
import csv
import io
import itertools
import os
import subprocess
import sys

import pytest

from world import tributary

DATA = os.path.join(os.path.dirname(__file__), "../data")


def generate(folder, customers=300, branches=2, seed=7):
    subprocess.run([sys.executable, os.path.join(DATA, "generate_zh.py"), "--customers", str(customers), "--branches", str(branches),
                    "--seed", str(seed), "--out", str(folder)], check=True)
    return folder


def read(folder, name):
    return (folder / name).read_bytes()


def test_the_generator_gives_the_same_bytes_for_the_same_seed(tmp_path):
    a, b, c = generate(tmp_path / "a"), generate(tmp_path / "b"), generate(tmp_path / "c", seed=8)
    names = sorted(os.listdir(a))
    assert names == sorted(["zh-truth.csv"] + [f"zh-{kind}-{n}.csv" for kind in ("customers", "sales", "activities") for n in (1, 2)])
    assert all(read(a, name) == read(b, name) for name in names)
    assert read(a, "zh-customers-1.csv") != read(c, "zh-customers-1.csv")


def test_the_generator_writes_as_different_branches_do(tmp_path):
    folder = generate(tmp_path, branches=4)
    read(folder, "zh-customers-1.csv").decode("utf-8")
    with pytest.raises(UnicodeDecodeError):
        read(folder, "zh-customers-2.csv").decode("utf-8")
    assert read(folder, "zh-customers-2.csv").decode("gb18030").startswith("客户编号,")
    assert b"\r\n" in read(folder, "zh-customers-2.csv")
    assert read(folder, "zh-customers-3.csv").decode("utf-8").startswith("编号;")
    assert read(folder, "zh-customers-4.csv").startswith(b"\xef\xbb\xbf")
    truth = list(csv.DictReader(io.StringIO(read(folder, "zh-truth.csv").decode())))
    people = {}
    for row in truth:
        people.setdefault(row["party"], set()).add(row["branch"])
    assert len(truth) > 300 and sum(len(where) > 1 for where in people.values()) > 50


def import_all(branch, folder, number):
    for kind in ("customers", "sales", "activities"):
        out, _ = tributary("import", branch.dir, folder / f"zh-{kind}-{number}.csv")
        assert ", 0 rejected" in out, out


def pairs(groups):
    together = {}
    for record, group in groups.items():
        together.setdefault(group, []).append(record)
    return {pair for records in together.values() for pair in itertools.combinations(sorted(records), 2)}


def test_sample_customers_from_csv_to_unified_customers(world, tmp_path):
    folder = generate(tmp_path / "zh")
    names = {"1": "north", "2": "south"}
    for number, name in names.items():
        import_all(world.branches[name], folder, number)
        north = world.branches[name]
        assert north.sql("SELECT count(*) FROM booking WHERE customer_id NOT IN (SELECT id FROM customer)") == [(0,)]
        assert north.sql("SELECT count(*) FROM booking")[0][0] > 50
    world.in_sync()
    truth = {}
    for row in csv.DictReader(io.StringIO(read(folder, "zh-truth.csv").decode())):
        truth[(names[row["branch"]], row["external_ref"])] = row["party"]
    out, _ = tributary("parties", world.hub.dir, "--csv")
    found = {(r["site"], r["external_ref"]): r.get("party_id") or r.get("party") for r in csv.DictReader(io.StringIO(out))}
    assert found.keys() == truth.keys()
    real, made = pairs(truth), pairs(found)
    assert len(real & made) >= 0.8 * len(real), f"{len(real & made)} of {len(real)} pairs found"
    assert len(real & made) >= 0.9 * len(made), f"{len(made - real)} of {len(made)} pairs are wrong"


def test_a_later_import_of_the_same_file_changes_nothing(world, tmp_path):
    north = world.branches["north"]
    folder = generate(tmp_path / "zh", customers=100)
    import_all(north, folder, 1)
    marks = north.sql("SELECT max(n) FROM _trb_mark")
    out, _ = tributary("import", north.dir, folder / "zh-customers-1.csv")
    assert "already present" in out
    assert north.sql("SELECT max(n) FROM _trb_mark") == marks
    world.in_sync()
