"""Headquarters' alarms: each is raised, and ends when its reason is gone. The settings bring the thresholds within reach."""
import time

import pytest
import tributary_client as wire

from world import tributary, until


def mobile(number):
    return f"1370000{number:04d}"


def alarm(hub, name, site=""):
    return [a for a in hub.status()["alarms"] if a["name"] == name and a["site"] == site]


def setting(hub, name, value):
    hub.do("policy", "set", name, value)


def test_a_branch_that_is_silent_is_an_alarm(world):
    hub, north = world.hub, world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    assert not alarm(hub, "branch_silent", "north")
    setting(hub, "branch_silent_hours", 0)
    north.stop()
    until(lambda: alarm(hub, "branch_silent", "north"), 60)  # a session is silent after 30 s
    setting(hub, "branch_silent_hours", 1)
    assert not alarm(hub, "branch_silent", "north")
    setting(hub, "branch_silent_hours", 0)
    assert alarm(hub, "branch_silent", "north")
    north.start()
    until(lambda: not alarm(hub, "branch_silent", "north"))


def test_a_backup_that_is_missing_or_old_is_an_alarm(world, tmp_path):
    hub = world.hub
    assert "no verified backup" in alarm(hub, "backup_stale")[0]["text"]
    hub.do("hub backup", tmp_path / "one.db")
    assert not alarm(hub, "backup_stale")
    setting(hub, "backup_stale_hours", 0)
    time.sleep(0.01)
    assert "older than 0 hours" in alarm(hub, "backup_stale")[0]["text"]
    setting(hub, "backup_stale_hours", 26)
    assert not alarm(hub, "backup_stale")


def test_a_disk_with_little_room_is_an_alarm(world):
    hub = world.hub
    setting(hub, "disk_min_mib", 1 << 40)
    assert alarm(hub, "disk_low")
    setting(hub, "disk_min_mib", 0)
    assert not alarm(hub, "disk_low")


def test_a_branch_whose_clock_is_off_is_an_alarm(new_world):
    hub = new_world("north").hub
    peer = wire.Branch.join(hub.invite("raw"))
    peer.connect()
    peer.ping()
    until(lambda: hub.sites()["raw"]["connected"])
    assert not alarm(hub, "clock_off", "raw")
    peer.clock_error_ms = 3600_000
    peer.connect()
    peer.ping()
    assert "off by 3" in until(lambda: alarm(hub, "clock_off", "raw"))[0]["text"]
    setting(hub, "clock_off_seconds", 7200)
    assert not alarm(hub, "clock_off", "raw")
    setting(hub, "clock_off_seconds", 300)
    assert alarm(hub, "clock_off", "raw")
    peer.clock_error_ms = 0
    peer.connect()
    peer.ping()
    until(lambda: not alarm(hub, "clock_off", "raw"))
    peer.close()


@pytest.mark.parametrize("words", [("branch_silent_hours", "99999999"), ("branch_silent_hours", "soon"), ("no_such_setting", "1"), ("epoch", "00")])
def test_a_setting_that_is_none_is_refused(world, words):
    before = world.hub.query("SELECT id, value FROM setting ORDER BY id")
    _, err = tributary("policy", world.hub.dir, "set", *words, code=None)
    assert words[0] in err or "epoch" in err
    assert world.hub.query("SELECT id, value FROM setting ORDER BY id") == before
