"""`tributary demo` ends well, can be stopped at any time, and leaves nothing behind."""
import os
import re
import signal
import subprocess
import time

import pytest

from world import PROGRAM, tributary

DATA = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../build/demo"))
pytestmark = pytest.mark.skipif(not os.path.exists(DATA), reason="make demo-data makes the sample files")


@pytest.fixture
def env(tmp_path):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    return {**os.environ, "TMPDIR": str(tmp)}, tmp


def nodes_of(folder):
    """Daemons whose working directory was the demo's."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(folder)):
                found.append(pid)
        except OSError:
            pass
    return found


def test_demo_tells_the_story_without_a_terminal_and_cleans_up(env):
    done = subprocess.run([PROGRAM, "demo", "--branches", "2", "--data", DATA], env=env[0], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert re.search(r"duplicates resolved +[1-9]", done.stdout) and done.stdout.count(" equal") >= 3
    assert "saved here\n" in done.stdout and "at headquarters\n" in done.stdout
    assert os.listdir(env[1]) == [] and nodes_of(env[1]) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_stopped_by_a_signal_cleans_up(env, number):
    demo = subprocess.Popen([PROGRAM, "demo", "--data", DATA], env=env[0], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in demo.stdout:
        if line.startswith("3."):
            break
    demo.send_signal(number)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 1 and "stopped" in err
    assert os.listdir(env[1]) == [] and nodes_of(env[1]) == []


def test_a_killed_demo_leaves_no_process(env):
    demo = subprocess.Popen([PROGRAM, "demo", "--data", DATA], env=env[0], stdout=subprocess.PIPE, text=True)
    for line in demo.stdout:
        if line.startswith("3."):
            break
    demo.kill()
    demo.communicate()
    deadline = time.monotonic() + 30
    while nodes_of(env[1]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert nodes_of(env[1]) == []


def test_demo_says_what_is_wrong(tmp_path):
    assert "demo-data" in tributary("demo", "--data", tmp_path / "none", code=1)[1]
    assert "branches" in tributary("demo", "--branches", "1", code=2)[1]
    assert "cannot make" in tributary("demo", "--data", DATA, "--keep", tmp_path, code=1)[1]
