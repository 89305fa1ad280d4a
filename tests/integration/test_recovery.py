"""What was lost comes back: restored hubs and branches, lost files."""
import os
import shutil

from world import until


def mobile(number):
    return f"1340000{number:04d}"


def customers(world):
    return sorted(world.hub.query("SELECT c.id, c.name FROM customer c JOIN site_no n ON n.no = c._site WHERE n.name = 'north'"))


def equal_digests(world, name):
    return world.branches[name].status()["digests"] == world.hub.sites()[name]["digests"]


def test_a_hub_restored_from_a_backup_gets_everything_again(world, tmp_path):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    world.hub.do("hub backup", tmp_path / "one.db")
    north.customer("c2", "李四", mobile(2))
    north.sql("UPDATE customer SET name = '张三丰' WHERE id = 'c1'")
    world.in_sync()
    world.hub.stop()
    for tail in ("", "-wal", "-shm"):
        if os.path.exists(f"{world.hub.dir}/hub.db{tail}"):
            os.unlink(f"{world.hub.dir}/hub.db{tail}")
    shutil.copy(tmp_path / "one.db", f"{world.hub.dir}/hub.db")
    world.hub.start()
    if world.hub.status()["held"]:
        world.hub.do("hub go", "--yes")
    world.in_sync()
    assert customers(world) == [("c1", "张三丰"), ("c2", "李四")]
    assert equal_digests(world, "north")
    world.hub.stop()
    world.hub.do("verify")


def test_a_branch_restored_from_an_old_copy_goes_on_and_headquarters_keeps_its_later_rows(world, tmp_path):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    north.stop()
    shutil.copytree(north.dir, tmp_path / "old")
    north.start()
    north.customer("c2", "李四", mobile(2))
    world.in_sync()
    north.stop()
    shutil.rmtree(north.dir)
    shutil.copytree(tmp_path / "old", north.dir)
    north.customer("c3", "王五", mobile(3))  # written on the restored copy before the daemon runs
    north.start()
    until(lambda: ("c3", "王五") in customers(world))
    assert ("c2", "李四") in customers(world), "headquarters keeps what the old copy does not know"
    alarms = until(lambda: world.hub.status()["alarms"] and [a for a in world.hub.status()["alarms"] if a["site"] == "north"])
    assert alarms, "and says that the two differ"
    assert not north.status()["in_sync"]


def test_a_replica_restored_alone_is_noticed(world, tmp_path):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    north.stop()
    shutil.copy(f"{north.dir}/replica.db", tmp_path / "replica.db")
    north.start()
    north.customer("c2", "李四", mobile(2))
    world.in_sync()
    north.stop()
    shutil.copy(tmp_path / "replica.db", f"{north.dir}/replica.db")
    north.start()
    north.customer("c3", "王五", mobile(3))
    until(lambda: ("c3", "王五") in customers(world))
    world.in_sync()
    assert customers(world) == [("c1", "张三"), ("c2", "李四"), ("c3", "王五")]
    assert [row for row, in north.sql("SELECT id FROM customer ORDER BY id")] == ["c1", "c2", "c3"]
    assert equal_digests(world, "north")


def test_a_lost_outbox_is_made_anew_from_the_rows(world):
    north = world.branches["north"]
    north.customer("c1", "张三", mobile(1))
    world.in_sync()
    north.stop()
    for name in os.listdir(north.dir):
        if name.startswith("outbox.db"):
            os.unlink(f"{north.dir}/{name}")
    north.customer("c2", "李四", mobile(2))
    north.start()
    until(lambda: ("c2", "李四") in customers(world))
    world.in_sync()
    assert customers(world) == [("c1", "张三"), ("c2", "李四")]
    assert equal_digests(world, "north")
