"""Fixtures: `new_world` makes worlds (world.py) that are ended, with their logs shown when the test failed; `world` is a hub with the
branches north and south."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../python"))

from world import World  # noqa: E402


NO_SKIP = os.environ.get("TRB_NO_SKIP") == "1"  # where everything can be tested (.ci/run, `make test` as root) a skip hides something


def fail_skipped(report):
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped though TRB_NO_SKIP=1: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
    return report


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report():
    fail_skipped((yield).get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = fail_skipped((yield).get_result())
    setattr(item, "failed_" + report.when, report.failed)


@pytest.fixture
def new_world(tmp_path, request):
    worlds = []

    def make(*branches, **how):
        world = World(tmp_path / f"w{len(worlds)}", branches, **how)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        codes = world.close()
        if getattr(request.node, "failed_call", False):
            for node in [world.hub, *world.branches.values()]:
                print(f"---- {node.name} ----\n{node.said()[-4000:]}")
        else:
            assert all(code in (0, None) for code in codes.values()), f"daemons ended with {codes}"


@pytest.fixture
def world(new_world):
    return new_world("north", "south")
