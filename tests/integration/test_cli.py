"""The command line's contract: help, versions, exit codes, suggestions."""
import json
import os
import re
import subprocess

from world import PROGRAM, tributary

ROOT = os.path.join(os.path.dirname(__file__), "../..")


def commands():
    """Every command of the program as its own help lists them."""
    text = tributary("--help")[0]
    return [m[1].split() for m in re.finditer(r"^  ([a-z]+(?: [a-z-]+)?)  +\S", text, re.M)]


def test_help_lists_commands_and_each_has_its_own():
    assert len(commands()) >= 20
    for words in commands():
        out, err = tributary(*words, "--help")
        assert out.startswith(f"tributary {' '.join(words)}:") and "usage:" in out and err == ""
        assert tributary("help", *words)[0] == out


def test_help_lines_fit_a_terminal():
    for words in commands():
        for line in tributary(*words, "--help")[0].splitlines():
            assert len(line) <= 160 if line.startswith("usage") else len(line) <= 115, line


def test_version():
    assert re.fullmatch(r"tributary \d+\.\d+\.\d+\n", tributary("--version")[0])


def test_wrong_commands_end_with_2_and_a_suggestion():
    assert "did you mean 'status'" in tributary("statsu", code=2)[1]
    assert "did you mean 'hub invite'" in tributary("hub", "invit", "x", code=2)[1]
    assert "did you mean" not in tributary("zzzzzzzzzz", code=2)[1]
    assert "\\x1b" in tributary("a\x1b[31m", code=2)[1]
    tributary(code=2)


def test_wrong_usage_ends_with_2_and_the_usage():
    for words in commands():
        if words[0] in ("demo", "schema"):
            continue
        out, err = tributary(*words, code=2)
        assert out == "" and "usage: tributary" in err
        assert tributary(*words, "x", "--no-such-option", code=2)[0] == ""


def test_a_directory_that_is_no_node_is_said(tmp_path):
    for words in (["status"], ["doctor"], ["hub", "run"], ["branch", "run"], ["find"], ["metrics"]):
        out, err = tributary(*words, tmp_path, *(["x"] if words == ["find"] else []), code=1)
        assert "node.ini" in err + out or "not a node" in err, (words, err)


def test_a_full_stdout_is_a_failure():
    done = subprocess.run([PROGRAM, "--help"], stdout=open("/dev/full", "w"), stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"could not be written" in done.stderr


def test_the_man_page_is_what_the_help_texts_say():
    with open(os.path.join(ROOT, "deploy/man/tributary.1"), encoding="utf-8") as page:
        assert page.read() == tributary("--man")[0]


def test_json_is_one_object_a_line(world):
    for words in (["status", world.hub.dir], ["hub", "sites", world.hub.dir], ["doctor", world.hub.dir], ["rejected", world.hub.dir]):
        for line in tributary(*words, "--json", code=None)[0].splitlines():
            assert isinstance(json.loads(line), dict), words


def test_doctor_leaves_no_file_behind(new_world, tmp_path):
    """Neither where it is called nor in DIR, also when the database is gone."""
    world, here = new_world(start=False), tmp_path / "here"
    here.mkdir()
    for gone in (False, True):
        if gone:
            os.unlink(f"{world.hub.dir}/hub.db")
        before = set(os.listdir(world.hub.dir))
        done = subprocess.run([os.path.realpath(PROGRAM), "doctor", world.hub.dir], cwd=here, capture_output=True, text=True, check=False)
        assert "SQLite 3." in done.stdout and done.returncode == int(gone), done
        assert os.listdir(here) == []
        assert set(os.listdir(world.hub.dir)) - before <= {"hub.db-wal", "hub.db-shm"}  # SQLite's own, beside a WAL database
