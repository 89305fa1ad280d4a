"""Fixtures: `new_world` makes worlds (world.py) that are ended, with their logs shown when the test failed; `world` is a hub with the
branches north and south."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../python"))

from world import World  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
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
