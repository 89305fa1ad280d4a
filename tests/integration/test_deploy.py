"""What `make install` puts where, and how tight the units are."""
import os
import re
import shutil
import subprocess

import pytest

from world import PROGRAM

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    to = tmp_path_factory.mktemp("install")
    variant = os.path.basename(os.path.dirname(os.path.realpath(PROGRAM)))
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"VARIANT={variant}", f"DESTDIR={to}", "PREFIX=/opt/t"], check=True, capture_output=True)
    return to / "opt/t"


def test_install_puts_program_man_page_units_and_samples(installed):
    assert os.access(installed / "bin/tributary", os.X_OK)
    for name in ("share/man/man1/tributary.1", "lib/sysusers.d/tributary.conf", "share/doc/tributary/LICENSE", "share/doc/tributary/README.md",
                 "share/doc/tributary/CHANGELOG", "share/doc/tributary/node.ini", "share/doc/tributary/policy.json"):
        assert (installed / name).stat().st_size > 0, name
    for unit in (installed / "lib/systemd/system").iterdir():
        text = unit.read_text()
        assert "/usr/bin/tributary" not in text
        if unit.name.endswith(".service"):
            assert "/opt/t/bin/tributary" in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("role,worst", [("hub", 1.5), ("branch", 1.5), ("backup", 1.0)])
def test_units_are_as_tight_as_the_readme_says(role, worst):
    unit = f"{ROOT}/deploy/systemd/tributary-{role}@.service"
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", unit], capture_output=True, text=True, check=False)
    level = re.search(r"Overall exposure level.*: ([0-9.]+)", done.stdout)
    assert level and float(level[1]) <= worst, done.stdout + done.stderr
