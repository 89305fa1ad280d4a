"""Bad input of every kind: each gets a clear error, costs little, loses nothing, and the daemon stays up."""
import os
import random
import shutil
import sqlite3
import subprocess
import threading

import pytest

from world import Refused, tributary, until


def mobile(number):
    return f"1370000{number:04d}"


def still_works(world, number):
    """A change still goes all the way."""
    for name, branch in world.branches.items():
        branch.customer(f"ok-{number}", f"好{number}", mobile(number))
    world.in_sync()
    assert world.hub.alive() and all(b.alive() for b in world.branches.values())


# ---- a directory and its files ----

def test_a_second_daemon_on_the_same_directory_is_refused(world):
    for node in (world.hub, world.branches["north"]):
        _, err = tributary(node.role, "run", node.dir, code=1, timeout=30)
        assert str(node.process.pid) in err and "in use" in err, err
    still_works(world, 1)


@pytest.mark.parametrize("text", ["", "[node]\nrole = king\n", "role = branch\n", "[node]\nrole = branch\nrole = hub\n",
                                  "[node]\nname = " + "x" * 300 + "\n", "\0\1\2", "[node\nrole=branch\n"])
def test_a_damaged_configuration_is_said_with_its_file(world, text):
    north = world.branches["north"]
    north.stop()
    path = f"{north.dir}/node.ini"
    good = open(path, encoding="utf-8").read()
    with open(path, "w", encoding="utf-8") as conf:
        conf.write(text)
    with pytest.raises(Refused, match="node.ini"):
        north.start()
    assert "node.ini" in tributary("doctor", north.dir, code=1)[0]
    with open(path, "w", encoding="utf-8") as conf:
        conf.write(good)
    north.start()
    still_works(world, 1)


@pytest.mark.parametrize("role", ["hub", "branch"])
@pytest.mark.parametrize("name", ["sign", "curve"])
@pytest.mark.parametrize("damage", [b"", b"x" * 31, None])
def test_a_damaged_or_missing_key_is_said_with_its_file(world, role, name, damage):
    node = world.hub if role == "hub" else world.branches["north"]
    node.stop()
    path = f"{node.dir}/keys/{name}"
    good = open(path, "rb").read()
    if damage is None:
        os.unlink(path)
    else:
        with open(path, "wb") as key:
            key.write(damage)
    with pytest.raises(Refused, match=f"keys/{name}"):
        node.start()
    if damage in (b"", None):
        assert f"keys/{name}" in tributary("doctor", node.dir, code=1)[0]
    with open(path, "wb") as key:
        key.write(good)
    os.chmod(path, 0o600)
    node.start()
    still_works(world, 1)


def test_a_key_that_others_can_read_is_reported(world):
    north = world.branches["north"]
    os.chmod(f"{north.dir}/keys/sign", 0o644)
    out = tributary("doctor", north.dir, code=1)[0]
    assert "chmod 600" in out


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MiB of its own: give it a name, get its path and a function that fills it and one that makes room."""
    mounted = []

    def make(path):
        os.makedirs(path)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", path], check=False).returncode:
            pytest.skip("a file system cannot be mounted here")
        mounted.append(path)
        filler = f"{path}/filler"

        def fill(leave):
            room = os.statvfs(path)
            with open(filler, "wb") as out:
                out.write(b"\0" * max(0, room.f_bavail * room.f_bsize - leave))

        return fill, lambda: os.unlink(filler)

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


def write_much(branch, prefix, rows, seed):
    """Rows that do not compress; gives how many were committed before the disk was full."""
    db, noise = sqlite3.connect(f"{branch.dir}/replica.db", timeout=10), random.Random(seed)
    try:
        for number in range(rows):
            with db:
                db.execute("INSERT INTO customer(id,kind,name,remark) VALUES(?,'person',?,?)", (f"{prefix}{number}", "客", noise.randbytes(900).hex()))
    except sqlite3.OperationalError as full:
        assert "full" in str(full), full
        return number
    finally:
        db.close()
    return rows


def test_a_full_disk_at_a_branch_loses_nothing(new_world, small_disk, tmp_path):
    world = new_world("south")
    fill, make_room = small_disk(f"{world.folder}/north")
    north = world.branch("north").start()
    north.customer("c0", "张三", mobile(9000))
    world.in_sync()
    world.hub.stop()  # so that the outbox has to keep what comes
    fill(leave=1_500_000)
    written = write_much(north, "a", 2000, 1)
    assert written < 2000
    assert north.alive(), north.said()[-1500:]
    until(lambda: north.status()["alarms"])
    make_room()
    world.hub.start()
    written += write_much(north, "b", 100, 2)
    world.in_sync(120)
    assert north.alive()
    assert world.hub.query("SELECT count(*) FROM customer") == [(1 + written,)]


def test_a_full_disk_at_the_hub_loses_nothing(new_world, small_disk, tmp_path):
    fill, make_room = small_disk(str(tmp_path / "w0" / "hub"))
    world = new_world()
    north = world.branch("north").start()
    north.customer("c0", "张三", mobile(9000))
    world.in_sync()
    fill(leave=700_000)
    write_much(north, "a", 1500, 3)
    until(lambda: "cannot be written" in world.hub.said() or not world.hub.alive(), 60)
    assert world.hub.alive(), world.hub.said()[-1500:]
    tributary("status", north.dir, "--wait", "1", code=3)
    make_room()
    world.in_sync(120)
    assert world.hub.query("SELECT count(*) FROM customer") == [(1501,)]


# ---- SQL clients ----

ID_RULE = "customer.id must be text of 1 to 64 characters without control characters"
NAME_RULE = "customer.name must be text of at most 256 bytes (85 Chinese characters), without NUL"
READ_ONLY = " is kept by headquarters and cannot be written here: "
BROKEN_RULES = [
    ("INSERT INTO customer(id,kind) VALUES(NULL,'person')", "NOT NULL constraint failed: customer.id"),
    ("INSERT INTO customer(id,kind,name) VALUES('c1','person','again')", "UNIQUE constraint failed: customer.id"),
    ("UPDATE customer SET id='c2' WHERE id='c1'", "customer: the id of a row cannot be changed; delete the row and insert it again"),
    (f"INSERT INTO customer(id,kind,name) VALUES('{'x' * 65}','person','x')", ID_RULE),
    ("INSERT INTO customer(id,kind,name) VALUES('','person','x')", ID_RULE),
    (f"INSERT OR IGNORE INTO customer(id,kind,name) VALUES('big','person','{'x' * 300000}')", NAME_RULE),
    ("INSERT INTO unified_customer(id,kind,name) VALUES('x','person','x')", "unified_customer" + READ_ONLY),
    ("DELETE FROM unified_customer WHERE 1", "unified_customer" + READ_ONLY),
    ("INSERT INTO staff(id,name) VALUES('x','x')", "staff" + READ_ONLY),
    ("INSERT INTO site(id,created_by) VALUES('x','x')", "site" + READ_ONLY),
]


def test_sql_that_breaks_the_rules_is_refused_with_a_plain_message(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()  # so that there is a unified customer to delete
    for sql, message in BROKEN_RULES:
        assert message in north.shell(sql, code=None), sql[:80]
    still_works(world, 2)
    assert world.hub.query("SELECT id FROM customer ORDER BY id") == [("c1",), ("ok-2",), ("ok-2",)]


def test_strange_values_arrive_unharmed_or_are_refused_by_name(world):
    north = world.branches["north"]
    strange = ["'; DROP TABLE customer;--", "张三\n李四", "\u202eabc", "😀" * 30, "a" * 200, "\\x00", "%s%n"]
    for number, name in enumerate(strange):
        north.sql("INSERT INTO customer(id,kind,name) VALUES(?,?,?)", f"s{number}", "person", name)
    world.in_sync()
    held = dict(world.hub.query("SELECT id, name FROM customer"))
    assert held == {f"s{n}": name for n, name in enumerate(strange)}


def test_blobs_and_bad_utf8_in_text_columns_are_refused_at_once_and_numbers_become_text(world):
    north = world.branches["north"]
    for value in ("x'ff00fe'", "CAST(x'610062' AS TEXT)", "zeroblob(3)"):
        assert NAME_RULE in north.shell(f"INSERT INTO customer(id,kind,name) VALUES('bad','person',{value})", code=None), value
    for row, value in (("real", "1.5"), ("int", "9223372036854775807")):
        assert north.shell(f"INSERT INTO customer(id,kind,name) VALUES('{row}','person',{value})") == ""
    north.customer("after", "王五", mobile(3))
    world.in_sync()
    assert sorted(world.hub.query("SELECT id, name FROM customer")) == [("after", "王五"), ("int", "9223372036854775807"), ("real", "1.5")]


def test_text_that_is_not_utf8_and_passes_the_triggers_is_set_aside_by_name(world):
    north = world.branches["north"]
    north.shell("INSERT INTO customer(id,kind,name) VALUES('b1','person',CAST(x'ff41fe' AS TEXT))")
    north.customer("after", "王五", mobile(3))
    assert until(lambda: north.row("customer", "b1").startswith("refused:"))
    assert until(lambda: north.row("customer", "after") == "at headquarters")
    assert world.hub.query("SELECT id FROM customer") == [("after",)]
    assert north.sql("SELECT table_name, row_id FROM rejected_change") == [("customer", "b1")]


def test_a_dropped_trigger_is_noticed_and_what_it_missed_is_sent(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    triggers = north.sql("SELECT name FROM sqlite_master WHERE type='trigger' AND tbl_name='customer'")
    north.shell("BEGIN;" + "".join(f'DROP TRIGGER "{name}";' for (name,) in triggers) + "UPDATE customer SET city='北京' WHERE id='c1';COMMIT;")
    until(lambda: len(north.sql("SELECT name FROM sqlite_master WHERE type='trigger' AND tbl_name='customer'")) == len(triggers))
    until(lambda: world.hub.query("SELECT city FROM customer WHERE id='c1'") == [("北京",)])
    world.in_sync()


@pytest.mark.parametrize("rows", [1, 30])
def test_a_dropped_table_is_no_delete_and_not_in_sync_until_its_rows_are_back(world, rows):
    north = world.branches["north"]
    north.shell("BEGIN;" + "".join(f"INSERT INTO customer(id,kind,name) VALUES('c{n}','person','客{n}');"
                                   f"INSERT INTO contact(id,customer_id,kind,value) VALUES('m{n}','c{n}','mobile','{mobile(n)}');"
                                   for n in range(rows)) + "COMMIT;")
    world.in_sync()
    contacts = north.sql("SELECT id, customer_id, kind, value FROM contact")
    north.shell("DROP TABLE contact;")
    alarm = until(lambda: [a for a in north.status()["alarms"] if a["name"] == "rows_vanished"], 60)[0]
    assert f"{rows} rows of table contact" in alarm["text"] and "backup" in alarm["text"]
    assert not north.status()["in_sync"]
    tributary("status", north.dir, "--wait", "1", code=3)
    north.stop()  # nor is it forgotten
    assert not north.status()["in_sync"]
    north.start()
    north.customer("later", "王五")  # work goes on
    until(lambda: world.hub.query("SELECT count(*) FROM customer WHERE id='later'") == [(1,)])
    assert world.hub.query("SELECT count(*) FROM contact") == [(rows,)]
    assert world.hub.status()["rejected"] == 0
    assert not north.status()["in_sync"]
    for contact in contacts:
        north.sql("INSERT INTO contact(id, customer_id, kind, value) VALUES(?,?,?,?)", *contact)
    world.in_sync()
    assert not [a for a in north.status()["alarms"] if a["name"] in ("rows_vanished", "table_lost")]
    assert world.hub.query("SELECT count(*) FROM contact") == [(rows,)]


def test_a_dropped_table_of_headquarters_comes_down_again(world):
    north, south = world.branches["north"], world.branches["south"]
    north.customer("n1", "张三", mobile(1))
    south.customer("s1", "张三", mobile(1))
    world.in_sync()
    until(lambda: north.sql("SELECT count(*) FROM unified_customer") == [(1,)])
    north.shell("DROP TABLE unified_customer;")
    until(lambda: north.shell("SELECT count(*) FROM sqlite_master WHERE name='unified_customer'") == "1\n"
          and north.sql("SELECT count(*) FROM unified_customer") == [(1,)], 60)
    world.in_sync()


def test_a_client_that_holds_the_lock_is_named(world):
    north = world.branches["north"]
    holder = subprocess.Popen(["sqlite3", f"{north.dir}/replica.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holder.stdin.write("BEGIN EXCLUSIVE;\nSELECT 'held';\n")
    holder.stdin.flush()
    assert holder.stdout.readline().strip() == "held"
    try:
        out = tributary("doctor", north.dir, code=None)[0]
        assert str(holder.pid) in out and "sqlite3" in out
        status = north.status()
        assert [a for a in status["alarms"] if a["name"] == "lock_held" and str(holder.pid) in a["text"]], status["alarms"]
        assert status["replica_locked"] and status["marks_unsealed"] == 0 and not status["in_sync"]
        assert 'tributary_alarm{name="lock_held"' in north.do("metrics")
    finally:
        holder.stdin.close()
        holder.wait(20)
    still_works(world, 4)
    until(lambda: not [a for a in north.status()["alarms"] if a["name"] == "lock_held"])
    assert not north.status()["replica_locked"]


def test_many_deletes_at_once_wait_at_headquarters(world):
    north = world.branches["north"]
    db = sqlite3.connect(f"{north.dir}/replica.db", timeout=10)
    with db:
        db.executemany("INSERT INTO customer(id,kind,name) VALUES(?,'person',?)", [(f"m{n}", f"客{n}") for n in range(100)])
    db.close()
    world.in_sync()
    north.sql("DELETE FROM customer")
    until(lambda: world.hub.status()["rejected"] == 100)
    assert world.hub.query("SELECT count(*) FROM customer") == [(100,)]
    until(lambda: north.row("customer", "m7").startswith("refused:"))  # told a moment after headquarters has it
    lines = world.hub.do("rejected").splitlines()
    assert len(lines) == 100 and all("mass_delete" in line for line in lines), lines[:3]
    first = next(line.split()[0] for line in lines if " m7:" in line)
    world.hub.do("rejected", "retry", first)
    assert world.hub.query("SELECT count(*), sum(id = 'm7') FROM customer") == [(99, 0)]
    assert world.hub.status()["rejected"] == 99
    world.hub.do("rejected", "retry", "all")
    assert world.hub.query("SELECT count(*) FROM customer") == [(0,)]
    world.in_sync()
    assert world.hub.status()["rejected"] == 0
    assert until(lambda: north.status()["refused"] == 0 and not north.sql("SELECT * FROM rejected_change"))
    assert north.status()["digests"] == world.hub.sites()["north"]["digests"]


# ---- CSV ----

CSV = {  # content, exit code, customers taken, what is said
    "broken_quote.csv": ('name,mobile\n"张三,13700000001\n李四,13700000002\n', 0, ["李四"], ["line 2: an open quote at the end of the file", "1 rejected"]),
    "nul.csv": ("name,mobile\n张\0三,13700000001\n李四,13700000002\n", 0, ["李四"], ["line 2: a NUL byte", "1 rejected"]),
    "one_megabyte_cell.csv": ("name,mobile\n" + "张" * 350_000 + ",13700000001\n李四,13700000002\n", 0, ["李四"], ["line 2: a cell of more than 64 KiB", "1 rejected"]),
    "ragged.csv": ("name,mobile\n张三\n李四,13700000002,extra,extra\n王五,13700000003\n", 0, ["王五"],
                   ["line 2: has 1 cells, the header has 2", "line 3: has 4 cells, the header has 2", "2 rejected"]),
    "all_ragged.csv": ("name,mobile\n张三\n李四\n", 1, [], ["nothing new", "line 2: has 1 cells", "line 3: has 1 cells", "2 rejected"]),
    "bad_byte.csv": ("姓名,手机\n张三\udcff,13700000001\n李四,13700000002\n", 0, ["李四"],
                     ["neither clean UTF-8 nor clean GB18030", "byte 0xff on line 2 (byte 7 of the line)", "line 2: not valid UTF-8", "1 rejected"]),
    "only_header.csv": ("name,mobile\n", 0, [], ["0 rows read", "0 rejected"]),
    "empty.csv": ("", 1, [], ["empty.csv is empty"]),
    "no_known_header.csv": ("foo,bar\n1,2\n", 1, [], ["no column of no_known_header.csv is recognised: write a mapping"]),
}


@pytest.mark.parametrize("name", CSV)
def test_csv_horrors_are_reported_and_the_rest_goes_on(world, tmp_path, name):
    text, code, taken, said = CSV[name]
    north = world.branches["north"]
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    out, err = tributary("import", north.dir, path, code=code)
    for words in said:
        assert words in out + err
    assert [row[0] for row in north.sql("SELECT name FROM customer")] == taken
    still_works(world, 6)


def test_csv_in_wrong_encodings(world, tmp_path):
    north = world.branches["north"]
    good = tmp_path / "gb.csv"
    good.write_bytes("姓名,手机\n张三,13700000001\n".encode("gb18030"))
    out, _ = tributary("import", north.dir, good)
    assert "gb.csv, GB18030" in out
    assert north.sql("SELECT name FROM customer") == [("张三",)]
    bad = tmp_path / "utf16.csv"
    bad.write_bytes("姓名,手机\n李四,13700000002\n".encode("utf-16"))
    _, err = tributary("import", north.dir, bad, code=1)
    assert err == "tributary: utf16.csv is UTF-16: save it as 'CSV UTF-8' and import that\n"
    assert north.sql("SELECT name FROM customer") == [("张三",)]
    still_works(world, 7)


def test_an_import_can_be_undone(world, tmp_path):
    north = world.branches["north"]
    north.customer("mine", "老客", mobile(8))
    path = tmp_path / "c.csv"
    path.write_text("name,mobile\n" + "".join(f"客{n},1360000{n:04d}\n" for n in range(200)), encoding="utf-8")
    out, err = tributary("import", north.dir, path)
    world.in_sync()
    assert world.hub.status()["records"] == 201
    import re
    number = re.search(r"--undo[= ](\S+)", out + err)
    assert number, out + err
    tributary("import", north.dir, "--undo", number[1])
    world.in_sync()  # an undo is no mass delete
    assert world.hub.status()["records"] == 1


# ---- the control socket ----

def test_garbage_on_the_control_socket_harms_nobody(world):
    import socket
    for node in (world.hub, world.branches["north"]):
        for noise in (b"", b"\0\0\0\0", b"\xff\xff\xff\xff" + b"x" * 100, b"\0\0\0\x05\xdd\xff\xff\xff\xff", b"\0\0\0\x01\x90", os.urandom(4096)):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(f"{node.dir}/control.sock")
                try:
                    s.sendall(noise)
                    s.shutdown(socket.SHUT_WR)
                    s.recv(100)
                except OSError:
                    pass
        idle = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for s in idle:
            s.settimeout(1)
            try:
                s.connect(f"{node.dir}/control.sock")
            except OSError:
                pass
        for s in idle:
            s.close()
        assert until(lambda n=node: n.status()["role"])
    still_works(world, 8)


def test_clients_that_write_without_pause_do_not_starve_the_daemon(world):
    north, stop, wrong = world.branches["north"], threading.Event(), []

    def write(client):
        try:
            db = sqlite3.connect(f"{north.dir}/replica.db", timeout=30)
            for number in range(150):
                if stop.is_set():
                    break
                with db:
                    db.execute("INSERT INTO customer(id,kind,name) VALUES(?,'person',?)", (f"p{client}-{number}", "客"))
            db.close()
        except sqlite3.Error as error:
            wrong.append(error)

    clients = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(120)
    stop.set()
    assert not wrong
    world.in_sync()
    assert world.hub.query("SELECT count(*) FROM customer") == [(450,)]


def test_a_branch_whose_directory_is_taken_away_ends_and_says_so(world):
    north = world.branches["north"]
    process = north.process
    shutil.rmtree(north.dir)
    assert process.wait(60) == 1
    north.process = None
    assert "is gone" in north.said()
    world.branches["south"].customer("s1", "张三")
    world.branches["south"].in_sync()


def test_a_replica_that_is_taken_away_is_an_alarm_and_is_looked_at_again_when_it_is_back(world):
    north = world.branches["north"]
    north.customer("n1", "张三")
    world.in_sync()
    os.rename(f"{north.dir}/replica.db", f"{north.dir}/replica.away")
    assert until(lambda: any(a["name"] == "replica_missing" for a in north.status()["alarms"]), 60)
    os.rename(f"{north.dir}/replica.away", f"{north.dir}/replica.db")
    north.customer("n2", "李四")
    assert until(lambda: world.hub.query("SELECT count(*) FROM customer") == [(2,)], 60)
