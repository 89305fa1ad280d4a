"""Who may speak: tokens, unknown keys, suspend, resume, revoke, rotation."""
import os
import shutil

import pytest

from world import Refused, tributary, until


def mobile(number):
    return f"1390000{number:04d}"


def party_count(world):
    return world.hub.status()["parties"]


def test_a_token_works_once(world, tmp_path):
    token = world.hub.invite("east")
    tributary("branch", "join", tmp_path / "east", token)
    until(lambda: not world.hub.sites()["east"]["connected"], 5)  # nobody runs there
    assert " 0 of 0" not in tributary("status", tmp_path / "east", code=None)[0]
    out, err = tributary("branch", "join", tmp_path / "again", token, code=None)
    assert "used" in err.lower(), (out, err)
    assert not os.path.exists(tmp_path / "again")  # as it was before
    with pytest.raises(Refused, match="exit [14]"):
        tributary("branch", "join", tmp_path / "again2", token)


def test_a_join_interrupted_before_its_answer_may_be_repeated(world, tmp_path):
    """The same keys and the same token: as after a crash between use and reply."""
    token = world.hub.invite("east")
    first = tmp_path / "east"
    tributary("branch", "join", first, token)
    keys = tmp_path / "keys"
    shutil.copytree(first / "keys", keys)
    shutil.rmtree(first)
    os.makedirs(first, mode=0o700)
    shutil.copytree(keys, first / "keys")
    tributary("branch", "join", first, token)
    assert os.path.exists(first / "replica.db")


def test_an_expired_token_is_refused(world, tmp_path):
    token = world.hub.invite("east", "--expires", "1s")
    wanted = "the token is no longer good (the invitation has expired): ask headquarters for a new one\n"
    until(lambda: wanted in tributary("branch", "join", tmp_path / "east", token, "--timeout", "5s", code=None)[1] or
          shutil.rmtree(tmp_path / "east", ignore_errors=True), 10, 0.5)


@pytest.mark.parametrize("damage", [lambda t: t[:-1], lambda t: t[:20], lambda t: t.replace(t[30], "A" if t[30] != "A" else "B", 1),
                                    lambda t: "hello", lambda t: t + "AAAA", lambda t: ""])
def test_a_damaged_token_is_refused_before_anything_is_sent(world, tmp_path, damage):
    token = world.hub.invite("east")
    _, err = tributary("branch", "join", tmp_path / "east", damage(token), code=None)
    assert "token" in err
    assert not os.path.exists(tmp_path / "east" / "replica.db")


def test_a_token_of_another_hub_is_refused(world, new_world, tmp_path):
    other = new_world()
    token = other.hub.invite("east")
    other.hub.stop()
    _, err = tributary("branch", "join", tmp_path / "east", token, "--timeout", "3s", code=None)
    assert err and not os.path.exists(tmp_path / "east")
    os.makedirs(tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("x")
    tributary("branch", "join", tmp_path / "mine", token, "--timeout", "1s", code=None)
    assert os.listdir(tmp_path / "mine") == ["notes.txt"]


def test_wrong_site_names_and_expiries_are_refused(world):
    for name in ("hq", "guest", "East", "a b", "", "x" * 40, "9", "a'b"):
        _, err = tributary("hub", "invite", world.hub.dir, name, code=None)
        assert "site" in err.lower() or "argument" in err.lower(), name
    _, err = tributary("hub", "invite", world.hub.dir, "east", "--expires", "soon", code=2)
    assert "expires" in err


def test_a_region_or_an_area_code_that_is_none_is_refused(world):
    for option, value in (("--region", "XX"), ("--region", "cn"), ("--region", "China"), ("--region", "CHN"), ("--area-code", "abc"),
                          ("--area-code", "021x"), ("--area-code", "-21"), ("--area-code", "012345678")):
        _, err = tributary("hub", "invite", world.hub.dir, "east", f"{option}={value}", code=1)
        assert value in err and ("region" in err or "area code" in err), err
    assert "east" not in world.hub.sites()
    world.hub.invite("east", "--region", "HK", "--area-code", "021")


def test_what_has_no_node_is_said_before_anything_is_asked(world, tmp_path):
    for words in (("go",), ("revoke", "north")):
        _, err = tributary("hub", words[0], tmp_path / "none", *words[1:], code=1)
        assert "--yes" not in err and "none" in err, err


def test_a_dry_run_says_what_an_order_would_do(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    for order in ("suspend", "revoke"):
        out = world.hub.do(f"hub {order}", "north", "--dry-run")
        assert "would be" in out and "Nothing changed" in out, out
        assert world.hub.sites()["north"]["state"] == "active"
    assert "1 customers" in out
    _, err = tributary("hub", "suspend", world.hub.dir, "nowhere", "--dry-run", code=1)
    assert "no site" in err
    north.customer("c2", "李四", mobile(2))
    world.in_sync()


def test_suspend_holds_and_resume_goes_on_with_the_live_session(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    world.hub.do("hub suspend", "north")
    north.customer("c2", "李四", mobile(2))
    until(lambda: north.status()["suspended"])
    assert tributary("status", north.dir, code=3)[0].count("has suspended this site") == 1
    assert north.row("customer", "c2").startswith("saved here")
    assert world.hub.query("SELECT count(*) FROM customer WHERE id = 'c2'") == [(0,)]
    tributary("status", north.dir, "--wait", "1", code=3)
    world.hub.do("hub resume", "north")
    world.in_sync()
    assert north.row("customer", "c2") == "at headquarters"


def said_refused(node):
    status = until(lambda: (s := node.status())["state"] == "refused" and s)
    assert not status["in_sync"] and not status["connected"]
    text = "headquarters does not know this node's key (revoked?): ask headquarters; join again with a new token"
    assert [a["text"] for a in status["alarms"] if a["name"] == "key_refused"] == [text]
    out, _ = tributary("status", node.dir, code=3)
    assert "not in sync" in out and "refused" in out and text in out
    out, _ = tributary("doctor", node.dir, code=1)
    assert text in out and "session" in out


def test_a_branch_revoked_while_nothing_is_written_hears_of_it_at_once(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    world.hub.do("hub revoke", "north", "--yes")
    until(lambda: not north.status()["in_sync"], 5)
    said_refused(north)


def test_revoke_shuts_the_live_session_both_ways(world, tmp_path):
    north, south = world.branches["north"], world.branches["south"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    _, err = tributary("hub", "revoke", world.hub.dir, "north", code=None)  # asks, and there is no terminal
    assert "--yes" in err and world.hub.sites()["north"]["state"] == "active"
    world.hub.do("hub revoke", "north", "--yes")
    before = world.hub.query("SELECT count(*) FROM customer")
    north.customer("c2", "李四", mobile(2))
    south.customer("s1", "张三", mobile(1))
    south.in_sync()
    tributary("status", north.dir, "--wait", "2", code=3)
    assert world.hub.query("SELECT count(*) FROM customer WHERE id = 'c2'") == [(0,)]
    assert world.hub.query("SELECT count(*) FROM customer") == [(before[0][0] + 1,)]
    assert world.hub.sites()["north"]["state"] == "revoked"
    said_refused(north)
    # Even restarted it stays out; a new machine takes the site over.
    north.stop()
    north.start()
    tributary("status", north.dir, "--wait", "2", code=3)
    said_refused(north)
    assert north.said().count("does not know this node's key") == 2  # once a start
    north.stop()
    assert not north.status()["in_sync"]
    world.branches.pop("north")
    token = world.hub.invite("north")
    tributary("branch", "join", tmp_path / "new", token)


def test_an_enrolled_site_is_not_invited_twice_by_accident(world):
    _, err = tributary("hub", "invite", world.hub.dir, "north", code=None)
    out = tributary("hub", "invite", world.hub.dir, "north", code=None)[0]
    assert err or out  # whatever is decided, it is said; the live branch goes on:
    world.branches["north"].customer("c1", "张三", mobile(1))
    world.in_sync()


def test_rotating_a_branch_keeps_the_stream(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    before = open(f"{north.dir}/keys/curve", "rb").read()
    north.do("rotate")
    until(lambda: open(f"{north.dir}/keys/curve", "rb").read() != before)
    north.customer("c2", "李四", mobile(2))
    world.in_sync()
    north.stop()
    north.start()
    north.customer("c3", "王五", mobile(3))
    world.in_sync()
    assert party_count(world) == 3


def test_the_hub_goes_over_to_its_next_key_and_branches_follow(world):
    """The first rotation announces the next CURVE key, the second serves it; who was away then tries it unasked."""
    north, south = world.branches["north"], world.branches["south"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    world.hub.do("rotate")
    north.customer("c2", "李四", mobile(2))
    south.customer("s2", "李四", mobile(2))
    world.in_sync()
    south.stop()
    world.hub.do("rotate")
    north.customer("c3", "王五", mobile(3))
    north.in_sync()
    south.start()
    south.customer("s3", "赵六", mobile(4))
    south.in_sync()
    assert party_count(world) == 4


def test_rotating_the_hub_is_learnt_by_branches(world):
    north, south = world.branches["north"], world.branches["south"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    south.stop()  # was away while it happened
    world.hub.do("rotate")
    north.customer("c2", "李四", mobile(2))
    north.in_sync()
    south.start()
    south.customer("s1", "李四", mobile(2))
    south.in_sync()
    world.hub.stop()
    world.hub.start()
    north.customer("c3", "王五", mobile(3))
    south.customer("s3", "王五", mobile(3))
    world.in_sync()
    assert party_count(world) == 3
