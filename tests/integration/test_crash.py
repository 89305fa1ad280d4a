"""The short form of `make crash`: mass deletes, policy loads and backups under kill -9 too."""
import os
import subprocess
import sys


def test_kill_9_at_random_loses_and_doubles_nothing():
    script = os.path.join(os.path.dirname(__file__), "../crash.py")
    done = subprocess.run([sys.executable, script, "--rounds", "12", "--branches", "2", "--seed", "3"], capture_output=True, text=True,
                          timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
