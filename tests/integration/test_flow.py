"""The life of a change through real processes, written by ordinary SQL."""
import json
import os
import re
import sqlite3
import subprocess
import time

import pytest

from world import PROGRAM, Refused, tributary, until


def mobile(number):
    return f"1380000{number:04d}"


def unified(branch):
    return branch.sql("SELECT id, name FROM unified_customer ORDER BY name")


def test_one_customer_from_two_branches_and_back_again(world):
    north, south = world.branches["north"], world.branches["south"]
    north.shell("INSERT INTO customer(id,kind,name) VALUES('C001','person','张三'); "
                "INSERT INTO contact(id,customer_id,kind,value) VALUES('K1','C001','mobile','138 0000 0001')")
    south.shell("INSERT INTO customer(id,kind,name,city) VALUES('C001','person','张三','上海'); "
                "INSERT INTO contact(id,customer_id,kind,value) VALUES('K1','C001','mobile','+86 13800000001'); "
                "INSERT INTO activity(id,customer_id,at,channel,subject) VALUES('A1','C001',1760000000000,'counter','咨询')")
    world.in_sync()
    status = world.hub.status()
    assert (status["records"], status["parties"]) == (2, 1)
    for branch in (north, south):
        assert [name for _, name in unified(branch)] == ["张三"]
        assert branch.row("customer", "C001") == "at headquarters"
    found = json.loads(world.hub.do("find", "--kind", "mobile", "--value", "13800000001", "--json").splitlines()[0])
    shown = world.hub.do("show", found["party"])
    assert "张三" in shown and "上海" in shown and "咨询" in shown and "north" in shown and "south" in shown
    parties = world.hub.do("parties", "--csv").splitlines()
    assert parties[0] == "site,record_id,external_ref,party_id" and len(parties) == 3
    assert len({line.split(",")[-1] for line in parties[1:]}) == 1


def test_changing_and_deleting_a_contact_takes_the_customer_apart_again(world):
    north, south = world.branches["north"], world.branches["south"]
    north.customer("n1", "张三", mobile(1))
    south.customer("s1", "张三", mobile(1))
    world.in_sync()
    assert world.hub.status()["parties"] == 1
    assert len(unified(south)) == 1
    south.sql("UPDATE contact SET value = ? WHERE id = 's1-m'", mobile(2))
    world.in_sync()
    assert world.hub.status()["parties"] == 2
    south.sql("DELETE FROM customer WHERE id = 's1'")
    south.sql("DELETE FROM contact WHERE id = 's1-m'")
    world.in_sync()
    assert (world.hub.status()["records"], world.hub.status()["parties"]) == (1, 1)
    assert unified(south) == []  # withdrawn: it holds no record of the customer any more
    assert len(unified(north)) == 1


def test_another_branchs_contacts_come_down_masked(world):
    north, south = world.branches["north"], world.branches["south"]
    north.customer("n1", "张三", mobile(1))
    north.sql("INSERT INTO contact(id,customer_id,kind,value) VALUES('n1-e','n1','email','zhangsan@example.com')")
    south.customer("s1", "张三", mobile(1))
    world.in_sync()
    values = [v for (v,) in south.sql("SELECT value FROM unified_contact")]
    assert len(values) == 2 and "zhangsan@example.com" not in values and any("*" in v for v in values)
    assert "zhangsan@example.com" in [v for (v,) in north.sql("SELECT value FROM unified_contact")]


def test_headquarters_tables_cannot_be_written_at_a_branch(world):
    north = world.branches["north"]
    for sql in ("INSERT INTO unified_customer(id,kind,name) VALUES('x','person','x')", "INSERT INTO tag(id,name) VALUES('x','x')",
                "DELETE FROM site", "UPDATE identity_policy SET enabled=0", "DELETE FROM rejected_change"):
        try:
            north.shell(sql)
        except Refused as why:
            assert "headquarters" in str(why).lower(), (sql, why)
        else:
            assert sql.startswith("DELETE FROM rejected"), sql  # empty: there was nothing to refuse
    with pytest.raises(Refused):
        north.shell("INSERT INTO unified_customer(id,kind,name) VALUES('x','person','x')")


def test_a_refused_change_is_shown_where_it_was_made(world):
    """A row that only a tampered client can write: the branch's own guards are switched off in the client."""
    north = world.branches["north"]
    north.customer("n1", "张三", mobile(1))
    world.in_sync()
    db_file = f"{north.dir}/replica.db"
    guards = north.sql("SELECT name, sql FROM sqlite_master WHERE type='trigger' AND tbl_name='customer' AND sql LIKE '%RAISE%'")
    assert guards, "the guards are triggers"
    script = "BEGIN;" + "".join(f'DROP TRIGGER "{name}";' for name, _ in guards)
    script += "INSERT INTO customer(id,kind,name,birthday) VALUES('bad','person','x','not a day');"
    script += "".join(sql + ";" for _, sql in guards) + "COMMIT;"
    north.shell(script)
    assert db_file
    until(lambda: north.status()["refused"] == 1)
    assert north.row("customer", "bad").startswith("refused")
    world.in_sync()  # an alarm on both sides, and in sync on both
    assert "changes_refused" in [a["name"] for a in north.status()["alarms"]]
    assert ("rejected", "north") in [(a["name"], a["site"]) for a in world.hub.status()["alarms"]]
    assert world.hub.sites()["north"]["in_sync"] and north.status()["in_sync"]
    assert "birthday" in north.do("rejected")
    assert "birthday" in world.hub.do("rejected")
    # The rest goes on, and a corrected row heals it.
    north.customer("n2", "李四", mobile(2))
    until(lambda: north.row("customer", "n2") == "at headquarters")


def test_policy_brings_a_custom_table_and_column_end_to_end(world):
    north = world.branches["north"]
    policy = json.loads(world.hub.do("policy", "dump"))
    assert isinstance(policy, dict)
    load = os.path.join(os.path.dirname(__file__), "../../deploy/sample/policy.json")
    world.hub.do("policy", "load", load)
    until(lambda: north.sql("SELECT count(*) FROM sqlite_master WHERE name='visa_case'") == [(1,)])
    until(lambda: any(c[1] == "shoe_size" for c in north.sql("PRAGMA table_info(customer)")))
    north.shell("INSERT INTO visa_case(id,country,fee) VALUES('v1','日本',300.5)")
    north.shell("INSERT INTO customer(id,kind,name,shoe_size) VALUES('n1','person','张三',42)")
    world.in_sync()
    assert world.hub.query("SELECT country, fee FROM visa_case") == [("日本", 300.5)]
    assert world.hub.query("SELECT shoe_size FROM customer WHERE id='n1'") == [(42,)]
    assert north.sql("SELECT name FROM tag WHERE id='vip'") == [("VIP",)]
    # Taken again it changes nothing; taken back it goes.
    world.hub.do("policy", "load", load)
    assert json.loads(world.hub.do("policy", "dump"))["custom_table"][0]["id"] == "visa_case"


def test_a_bad_policy_is_taken_whole_or_not_at_all(world, tmp_path):
    before = world.hub.do("policy", "dump")
    for number, text in enumerate(["{", "[]", '{"custom_table":[{"id":"x","number":1000,"name":"Bad Name"}]}', '{"no_such_table":[{"id":"x"}]}',
                                   '{"tag":[{"id":"ok","name":"ok"},{"id":"no","name":12}]}',
                                   '{"custom_table":[{"id":"a","number":1000,"name":"ok_one"},{"id":"b","number":1001,"name":"customer"}]}',
                                   "\xff\xfe", '{"a":' * 3000]):
        load = tmp_path / f"{number}.json"
        load.write_text(text, encoding="latin-1")
        _, err = tributary("policy", world.hub.dir, "load", load, code=None)
        assert err, text[:40]
        assert world.hub.do("policy", "dump") == before, text[:40]


def test_work_goes_on_while_the_line_is_cut(new_world):
    proxy = pytest.importorskip("proxy")
    world = new_world()
    with proxy.Proxy(("127.0.0.1", world.hub.port)) as line:
        north = world.branch("north", endpoint=f"tcp://127.0.0.1:{line.port}").start()
        south = world.branch("south").start()
        north.customer("n1", "张三", mobile(1))
        world.in_sync()
        line.cut()
        north.customer("n2", "李四", mobile(2))
        south.customer("s2", "李四", mobile(2))
        south.in_sync()
        assert north.row("customer", "n2").startswith("saved here")
        tributary("status", north.dir, "--wait", "1", code=3)
        line.restore()
        world.in_sync()
        assert north.row("customer", "n2") == "at headquarters"
        assert world.hub.status()["parties"] == 2
        assert len(unified(south)) == 1 and len(unified(north)) == 2


def test_a_backup_is_verified_and_moves_the_safe_sequence(world, tmp_path):
    north = world.branches["north"]
    north.customer("n1", "张三", mobile(1))
    world.in_sync()
    assert north.status()["safe_sequence"] == 0
    world.hub.do("hub backup", tmp_path / "one.db")
    world.hub.do("hub backup", tmp_path / "two.db")
    acked = north.status()["acked_sequence"]
    until(lambda: north.status()["safe_sequence"] == acked)
    assert tributary("hub", "backup", world.hub.dir, tmp_path / "two.db", code=None)[1]  # a file that is there is not overwritten


def unit_commands(name, folder, node):
    """The shell lines of a systemd unit, as systemd would start them, on another folder."""
    unit = open(os.path.join(os.path.dirname(__file__), "../../deploy/systemd", name), encoding="utf-8").read()
    lines = re.findall(r"^ExecStart(?:Post)?=/bin/sh -c '(.*)'$", unit, re.M)
    return [line.replace("$$", "$").replace("%%", "%").replace("/usr/bin/tributary", PROGRAM).replace("/var/lib/tributary/%i", node)
            .replace("/var/backups/tributary/%i", str(folder)) for line in lines]


def test_the_daily_backup_works_again_after_a_day_on_which_it_failed(world, tmp_path):
    world.branches["north"].customer("n1", "张三", mobile(1))
    world.in_sync()
    copies = tmp_path / "copies"
    copies.mkdir()
    commands = unit_commands("tributary-backup@.service", copies, world.hub.dir)
    assert len(commands) == 2

    def day(code):
        for command in commands:
            done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
            if done.returncode:
                break
        assert done.returncode == code, done.stderr
        time.sleep(1.1)  # the file is named after the second
        return os.listdir(copies)

    assert len(day(0)) == 1
    assert len(day(0)) == 2
    world.hub.stop()
    world.hub.write("UPDATE digest SET sum=sum+1")
    assert len(day(1)) == 2  # neither a copy nor a part of one is left
    tributary("hub", "backup", world.hub.dir, copies / "same.db", code=1)
    world.hub.write("UPDATE digest SET sum=sum-1")
    world.hub.start()
    tributary("hub", "backup", world.hub.dir, copies / "same.db")
    assert len(day(0)) == 4


def check_metrics(node):
    """Prometheus text: each metric once with a text of its own, conventional names, and everything that the node counts."""
    text = node.do("metrics")
    assert "# TYPE tributary_in_sync gauge\ntributary_in_sync 1\n" in text
    helps, types, series = re.findall(r"^# HELP (\S+) (.*)$", text, re.M), dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)), []
    for line in text.splitlines():
        if not line.startswith("#"):
            series.append(re.fullmatch(r"([a-z_]+(?:\{[^}]*\})?) ([0-9.]+)", line)[1])
    assert len(helps) == len(types) == len({name for name, _ in helps}) == len({words for _, words in helps})
    assert len(series) == len(set(series)) and {name.split("{")[0] for name in series} == set(types)
    assert all((kind == "counter") == name.endswith("_total") for name, kind in types.items()), types
    assert not [name for name in types if re.search(r"_(ms|us|milliseconds|microseconds|kib|mib)$", name)]
    assert all(words.endswith(".") and len(words) > 10 for _, words in helps)
    counted = {"hub": {"batches_committed_total": 2, "changes_committed_total": 4, "forks_total": 0, "frames_dropped_total": 0, "verify_queue_jobs": 0},
               "branch": {"batches_sealed_total": 1, "changes_sealed_total": 2, "bad_acks_total": 0, "bad_frames_total": 0}}
    for name, value in counted[node.role].items():
        assert f"\ntributary_{name} {value}\n" in text, text
    assert len(types) >= {"hub": 41, "branch": 24}[node.role], sorted(types)


def test_verify_and_doctor_and_metrics_of_a_healthy_world(world):
    for name, branch in world.branches.items():
        branch.customer("c1", "张三", mobile(1))
    world.in_sync()
    for node in (world.hub, *world.branches.values()):
        node.do("verify")
        checks = json.loads(node.do("doctor", "--json"))
        assert checks["failed"] == 0, [c for c in checks["checks"] if c["result"] == "FAIL"]
        check_metrics(node)
    # Wrong after a change behind the hub's back: verify finds it.
    world.hub.stop()
    db = sqlite3.connect(f"{world.hub.dir}/hub.db")
    with db:
        db.execute("UPDATE customer SET name = '李四' WHERE id = 'c1' AND _rid = (SELECT min(_rid) FROM customer)")
    db.close()
    _, err = tributary("verify", world.hub.dir, code=1)
    assert err


def test_verify_of_a_branch_finds_rows_written_past_the_triggers_and_a_broken_chain(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    north.stop()
    north.do("verify")
    triggers = north.sql("SELECT name, sql FROM sqlite_master WHERE type='trigger' AND tbl_name='customer'")
    north.shell("BEGIN;" + "".join(f'DROP TRIGGER "{name}";' for name, _ in triggers) + "UPDATE customer SET city='北京';" +
                "".join(sql + ";" for _, sql in triggers) + "COMMIT;")
    assert "customer" in tributary("verify", north.dir, code=1)[1]
    north.shell("BEGIN;" + "".join(f'DROP TRIGGER "{name}";' for name, _ in triggers) + "UPDATE customer SET city=NULL;" +
                "".join(sql + ";" for _, sql in triggers) + "COMMIT;")
    north.do("verify")
    db = sqlite3.connect(f"{north.dir}/outbox.db")
    with db:
        db.execute("UPDATE batch SET sealed = substr(sealed, 1, length(sealed) - 1) || x'00' WHERE sequence = 1")
    db.close()
    assert "batch is damaged" in tributary("verify", north.dir, code=1)[1]
