"""The generated schema under other people's SQLite: the sqlite3 shell, the sqlcipher shell (SQLite 3.15.2, the oldest that must work) and
Python's module, with the settings such programs use. What one client makes, every other one must read and write."""
import json
import os
import re
import shutil
import sqlite3
import subprocess

import pytest

TRIBUTARY = os.environ.get("TRIBUTARY", os.path.join(os.path.dirname(__file__), "../../build/gcc/tributary"))
SETTINGS = {
    "plain": "",
    "strict": "PRAGMA foreign_keys=ON;PRAGMA trusted_schema=OFF;",
    "recursive": "PRAGMA recursive_triggers=ON;",
}


class Shell:
    """A command-line shell; each call is a program of its own."""

    def __init__(self, program, path, settings):
        self.program, self.path, self.settings = program, path, settings

    def run(self, sql, ok=True):
        script = f".bail on\n.mode list\n{self.settings}\n{sql}\n"
        done = subprocess.run([self.program, self.path], input=script.encode(), capture_output=True, timeout=60)
        failed = done.returncode != 0 or b"rror" in done.stderr
        assert failed != ok, done.stderr.decode()
        return done.stdout.decode(errors="replace").split("\n")[:-1] if ok else done.stderr.decode(errors="replace")

    def refused(self, sql):
        return self.run(sql, ok=False)


class Module(Shell):
    """Python's module, a statement at a time."""

    def run(self, sql, ok=True):
        db = sqlite3.connect(self.path, isolation_level=None)
        rows = []
        try:
            for statement in [self.settings, *split(sql)]:
                db.executescript(statement) if statement == self.settings else rows.extend(db.execute(statement).fetchall())
        except sqlite3.Error as error:
            assert not ok, error
            return str(error)
        finally:
            db.close()
        assert ok, "not refused"
        return ["|".join("" if v is None else str(v) for v in row) for row in rows]


def split(sql):
    """Statements of a script; the ones here hold no semicolon inside."""
    return [s for s in (part.strip() for part in sql.split(";")) if s]


@pytest.fixture(scope="module")
def schema():
    return subprocess.run([TRIBUTARY, "schema", "branch"], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def blank(schema, tmp_path_factory):
    path = tmp_path_factory.mktemp("blank") / "replica.db"
    subprocess.run(["sqlite3", path], input=schema, check=True, capture_output=True)
    return path


@pytest.fixture(params=[(p, s) for p in ("sqlite3", "sqlcipher", "python") for s in SETTINGS], ids="-".join)
def client(request, blank, tmp_path):
    program, settings = request.param
    path = str(tmp_path / "replica.db")
    shutil.copy(blank, path)
    if program == "python":
        return Module(program, path, SETTINGS[settings])
    if not shutil.which(program):
        pytest.fail(f"{program} is missing: make deps")
    return Shell(program, path, SETTINGS[settings])


def marks(client):
    return client.run("SELECT tbl,row,op,part,mask FROM _trb_mark ORDER BY n;")


def bits(*numbers):
    return sum(1 << n for n in numbers)


def catalogue():
    """(table, column) -> number, from the documentation the program prints."""
    text = subprocess.run([TRIBUTARY, "schema"], check=True, capture_output=True).stdout.decode()
    numbers, table = {}, None
    for line in text.split("\n"):
        if match := re.match(r"## (\w+) \((\d+)\)", line):
            table = match[1]
            numbers[table, None] = int(match[2])
        elif match := re.match(r"\| (\d+) \| `(\w+)`", line):
            numbers[table, match[2]] = int(match[1])
    return numbers


NUMBERS = catalogue()


def column(table, name):
    return NUMBERS[table, name]


def test_the_old_client_is_old():
    version = subprocess.run(["sqlcipher", ":memory:"], input=b"SELECT sqlite_version();", capture_output=True).stdout
    assert version.strip() == b"3.15.2"


def test_an_old_client_can_make_the_file_too(schema, tmp_path):
    path = str(tmp_path / "old.db")
    done = subprocess.run(["sqlcipher", path], input=schema, capture_output=True)
    assert done.stderr == b""
    assert Shell("sqlite3", path, "").run("SELECT count(*)>300 FROM sqlite_master;PRAGMA integrity_check;") == ["1", "ok"]


def test_insert_makes_a_uuid7_and_one_mark(client):
    client.run("INSERT INTO customer(kind,name) VALUES('person','张三');")
    [row] = client.run("SELECT id,name,abs(created_at-strftime('%s','now')*1000)<5000,created_at=updated_at FROM customer;")
    row_id, *rest = row.split("|")
    assert rest == ["张三", "1", "1"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", row_id)
    assert marks(client) == [f"1|{row_id}|1|0|-1"]
    assert client.run("SELECT state FROM row_state WHERE table_name='customer';") == ["saved here"]


def test_update_marks_changed_columns_and_nothing_for_no_change(client):
    client.run("INSERT INTO customer(id,kind,name,city) VALUES('C001','person','张三','上海');")
    client.run("UPDATE customer SET name='张三',city='上海' WHERE id='C001';UPDATE customer SET gender=NULL;")
    assert len(marks(client)) == 1
    client.run("UPDATE customer SET name='李四',city='上海',gender='F' WHERE id='C001';")
    assert marks(client)[1:] == [f"1|C001|2|0|{bits(column('customer', 'name'), column('customer', 'gender'))}"]


def test_many_rows_in_one_statement(client):
    client.run(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<200)"
        " INSERT INTO customer(id,kind,name) SELECT 'C'||x,'person','客户'||x FROM c;"
        "UPDATE customer SET city=CASE WHEN length(id)=2 THEN '北京' ELSE city END;"
        "DELETE FROM customer WHERE length(id)=3;"
    )
    ops = [m.split("|")[2] for m in marks(client)]
    assert (ops.count("1"), ops.count("2"), ops.count("3")) == (200, 9, 90)


def test_delete_without_where_marks_every_row(client):
    client.run("INSERT INTO customer(id,kind) VALUES('a','person'),('b','person');DELETE FROM customer;")
    assert [m.split("|")[1:3] for m in marks(client)][2:] == [["a", "3"], ["b", "3"]]


def test_or_replace_marks_the_whole_row(client):
    client.run("INSERT INTO customer(id,kind,name,city) VALUES('a','person','old','x');")
    client.run("INSERT OR REPLACE INTO customer(id,kind,name) VALUES('a','person','new');")
    client.run("REPLACE INTO customer(id,kind,name) VALUES('a','person','newer');")
    got = [m for m in marks(client) if "|3|" not in m]  # recursive_triggers adds the delete's own mark
    assert got == ["1|a|1|0|-1"] * 3
    assert marks(client)[-1] == "1|a|1|0|-1"  # and the last word is the new row
    assert client.run("SELECT name,city FROM customer;") == ["newer|"]


def test_or_ignore_of_a_known_id_marks_nothing(client):
    client.run("INSERT INTO customer(id,kind) VALUES('a','person');INSERT OR IGNORE INTO customer(id,kind) VALUES('a','person');")
    assert len(marks(client)) == 1


def test_rolled_back_changes_leave_no_mark(client):
    client.run("BEGIN;INSERT INTO customer(id,kind) VALUES('a','person');ROLLBACK;INSERT INTO customer(id,kind) VALUES('b','person');")
    assert [m.split("|")[1] for m in marks(client)] == ["b"]


@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "INSERT OR FAIL", "INSERT OR ROLLBACK"])
def test_too_large_is_refused_under_every_conflict_clause(client, verb):
    said = client.refused(f"{verb} INTO customer(kind,name) VALUES('person','{'客' * 86}');")
    assert "customer.name must be text of at most 256 bytes (85 Chinese characters)" in said
    client.run(f"{verb} INTO customer(kind,name) VALUES('person','{'客' * 85}');")
    assert client.run("SELECT count(*) FROM customer;") == ["1"] and len(marks(client)) == 1


@pytest.mark.parametrize("verb", ["UPDATE", "UPDATE OR IGNORE", "UPDATE OR REPLACE"])
def test_an_id_cannot_change_and_an_update_cannot_grow_too_large(client, verb):
    client.run("INSERT INTO customer(id,kind) VALUES('a','person'),('b','person');")
    assert "the id of a row cannot be changed" in client.refused(f"{verb} customer SET id='b' WHERE id='a';")
    assert "the id of a row cannot be changed" in client.refused(f"{verb} customer SET id='c' WHERE id='a';")
    assert "customer.remark must be text" in client.refused(f"{verb} customer SET remark=hex(zeroblob(5000));")
    assert client.run("SELECT id FROM customer ORDER BY id;") == ["a", "b"] and len(marks(client)) == 2


@pytest.mark.parametrize(
    "values,why",
    [
        ("(kind,name) VALUES('person','a'||char(0)||'b')", "without NUL"),
        ("(kind,name) VALUES('person',x'e5bca0')", "customer.name must be text"),
        ("(kind,birthday) VALUES('person','1990-02-30')", "customer.birthday must be a date"),
        ("(kind,birthday) VALUES('person','1990/02/03')", "customer.birthday must be a date"),
        ("(kind,birthday) VALUES('person','１９９０-02-03')", "customer.birthday must be a date"),
        ("(kind,staff_count) VALUES('person','a few')", "customer.staff_count must be a whole number"),
        ("(kind,credit_limit) VALUES('person',9e999)", "customer.credit_limit must be a number"),
        ("(id,kind) VALUES('','person')", "customer.id must be text of 1 to 64 characters"),
        ("(id,kind) VALUES(hex(zeroblob(33)),'person')", "customer.id must be text of 1 to 64 characters"),
        ("(id,kind) VALUES('a'||char(9)||'b','person')", "without control characters"),
        ("(id,kind) VALUES('a'||char(0),'person')", "without control characters"),
    ],
)
def test_what_headquarters_would_refuse_is_refused_at_once(client, values, why):
    assert why in client.refused(f"INSERT OR REPLACE INTO customer{values};")
    assert marks(client) == []


def test_hostile_but_valid_values_pass(client):
    client.run(
        "INSERT INTO customer(id,kind,name,birthday) VALUES('x''; DROP TABLE customer; --','person','Robert''); DROP','1980-05');"
        if client.program != "python"
        else "INSERT INTO customer(id,kind,name,birthday) VALUES('x'' DROP TABLE customer --','person','Robert'') DROP','1980-05');"
    )
    client.run("INSERT INTO customer(id,kind,name,birthday) VALUES('顾客１号','person','ＡＢＣ 𠮷野家','1980');")
    assert client.run("SELECT name FROM customer WHERE id='顾客１号';") == ["ＡＢＣ 𠮷野家"]
    assert len(marks(client)) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO site(id,title) VALUES('x','y')",
        "INSERT OR IGNORE INTO site(id) VALUES('x')",
        "REPLACE INTO site(id) VALUES('north')",
        "UPDATE site SET title='mine'",
        "UPDATE OR REPLACE site SET id='south'",
        "DELETE FROM site",
        "DELETE FROM unified_customer",
        "UPDATE unified_contact SET masked=0",
        "INSERT INTO party_of(id) VALUES('x')",
    ],
)
def test_headquarters_tables_cannot_be_written(client, statement):
    client.run(
        "BEGIN;INSERT INTO _trb_guard VALUES('test');INSERT INTO site(id,title) VALUES('north','北');"
        "INSERT INTO unified_customer(id,name) VALUES('p','王');INSERT INTO unified_contact(id,party_id,masked) VALUES('c','p',1);"
        "DELETE FROM _trb_guard;COMMIT;"
    )
    assert "is kept by headquarters" in client.refused(statement + ";")
    assert client.run("SELECT title FROM site;SELECT name FROM unified_customer;SELECT masked FROM unified_contact;") == ["北", "王", "1"]
    assert marks(client) == []


def test_every_branch_table_can_be_written_updated_and_deleted(client):
    """With only its required columns: each table's triggers compile and mark under this client."""
    tables = client.run(
        "SELECT name FROM sqlite_master WHERE type='table' AND name IN"
        " (SELECT substr(name,6,length(name)-12) FROM sqlite_master WHERE name GLOB '_trb_*_insert') ORDER BY name;"
    )
    tables = [t for t in tables if (t, None) in NUMBERS]
    assert len(tables) == 28
    db = sqlite3.connect(client.path)
    script = ""
    for table in tables:
        needed = [(n, t) for _, n, t, notnull, default, pk in db.execute(f'PRAGMA table_info("{table}")') if notnull and not pk]
        names = "".join(f',"{n}"' for n, _ in needed)
        values = "".join(",'x'" if t == "TEXT" else ",1" for _, t in needed)
        script += (
            f"INSERT INTO \"{table}\"(id{names}) VALUES('r1'{values});"
            f"UPDATE \"{table}\" SET created_by='staff-1';DELETE FROM \"{table}\";"
        )
    db.close()
    client.run(script)
    by = bits(3)
    expected = [f"{NUMBERS[t, None]}|r1|{op}" for t in tables for op in (f"1|0|-1", f"2|0|{by}", "3|0|0")]
    assert marks(client) == expected


def test_temporary_tables_of_our_names_change_nothing(client):
    client.run(
        "CREATE TEMP TABLE _trb_guard(reason);INSERT INTO temp._trb_guard VALUES('x');CREATE TEMP TABLE _trb_mark(n,tbl,row,op,part,mask,wall,nonce);"
        "INSERT INTO main.customer(id,kind) VALUES('a','person');UPDATE main.customer SET name='王';"
    )
    assert [m.split("|")[2] for m in marks(client)] == ["1", "2"]
    assert "kept by headquarters" in client.refused(
        "CREATE TEMP TABLE _trb_guard(reason);INSERT INTO temp._trb_guard VALUES('x');INSERT INTO main.site(id) VALUES('x');"
    )


def test_attached_under_another_name(client, tmp_path):
    path, client.path = client.path, str(tmp_path / "own.db")
    client.run(f"ATTACH '{path}' AS crm;INSERT INTO crm.customer(id,kind,name) VALUES('a','person','王');UPDATE crm.customer SET name='李';")
    client.path = path
    assert [m.split("|")[2] for m in marks(client)] == ["1", "2"]


def test_row_state_says_refused_and_why(client):
    client.run(
        "INSERT INTO customer(id,kind) VALUES('a','person'),('b','person');INSERT INTO _trb_meta VALUES('acked_mark',9);"
        "BEGIN;INSERT INTO _trb_guard VALUES('test');"
        "INSERT INTO rejected_change(id,table_name,row_id,op,reason) VALUES('1','customer','a','insert','为什么');"
        "DELETE FROM _trb_guard;COMMIT;"
    )
    assert client.run("SELECT row_id,state,reason FROM row_state WHERE table_name='customer' ORDER BY 1;") == [
        "a|refused|为什么",
        "b|at headquarters|",
    ]


def test_clients_take_turns_on_one_file(blank, tmp_path):
    path = str(tmp_path / "replica.db")
    shutil.copy(blank, path)
    clients = [Shell("sqlite3", path, ""), Shell("sqlcipher", path, ""), Module("python", path, "")]
    for turn in range(9):
        clients[turn % 3].run(f"INSERT INTO customer(id,kind,name) VALUES('c{turn}','person','第{turn}');")
        clients[(turn + 1) % 3].run(f"UPDATE customer SET name=name||'!' WHERE id='c{turn}';")
    for client in clients:
        assert len(marks(client)) == 18
        assert client.run("PRAGMA integrity_check;") == ["ok"]
    assert clients[1].run("SELECT name FROM customer WHERE id='c8';") == ["第8!"]


def test_schema_command_words():
    done = subprocess.run([TRIBUTARY, "schema", "hub"], capture_output=True)
    assert done.returncode == 0 and b"_rid INTEGER PRIMARY KEY" in done.stdout
    done = subprocess.run([TRIBUTARY, "schema", "/no/such/dir"], capture_output=True)
    assert done.returncode == 1 and b"neither replica.db nor hub.db" in done.stderr
    assert subprocess.run([TRIBUTARY, "schema", "a", "b"], capture_output=True).returncode == 2
    assert json.dumps(sorted(t for t, c in NUMBERS if c is None))  # the documentation was read
