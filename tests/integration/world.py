"""A hub and branches as real processes in one temporary folder, for the tests and for tests/crash.py.

Nothing here sleeps for a fixed time to be right: a daemon is ready when it says READY=1 (sd_notify), and the world is in sync when
`tributary status --wait` says so."""
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time

PROGRAM = os.environ.get("TRIBUTARY") or os.path.join(os.path.dirname(__file__), "../../build/gcc/tributary")
READY_SECONDS = 60
SYNC_SECONDS = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Refused(Exception):
    """A command that ended with another exit code than the one expected."""


def tributary(*words, code=0, text_in=None, timeout=120):
    """Runs one command; gives (stdout, stderr). code None: any."""
    done = subprocess.run([PROGRAM, *map(str, words)], input=text_in, capture_output=True, timeout=timeout,
                          text=True, encoding="utf-8", errors="surrogateescape")
    if code is not None and done.returncode != code:
        raise Refused(f"{' '.join(map(str, words))}: exit {done.returncode}, wanted {code}\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


class Node:
    """A directory and the daemon that may run on it."""

    def __init__(self, world, role, name):
        self.world, self.role, self.name = world, role, name
        self.dir = os.path.join(world.folder, name)
        self.log = os.path.join(world.folder, name + ".log")
        self.process = None

    def start(self, wait=True, preexec=None):
        ready = os.path.join(self.world.folder, self.name + ".notify")
        if os.path.exists(ready):
            os.unlink(ready)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(ready)
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen([PROGRAM, self.role, "run", self.dir], stdout=log, stderr=log, preexec_fn=preexec,
                                                env={**os.environ, "NOTIFY_SOCKET": ready})
            if wait:
                self._await_ready(notify)
        return self

    def _await_ready(self, notify):
        deadline = time.monotonic() + READY_SECONDS
        notify.settimeout(0.2)
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in notify.recv(4096):
                    return
            except TimeoutError:
                pass
            if self.process.poll() is not None:
                raise Refused(f"{self.name} ended with {self.process.returncode}\n{self.said()[-2000:]}")
        raise Refused(f"{self.name} was not ready in {READY_SECONDS} s\n{self.said()[-2000:]}")

    def _end(self, how):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Refused(f"{self.name} did not end on signal {how} in 30 s\n{self.said()[-2000:]}") from None
        code = self.process.returncode if self.process else None
        self.process = None
        return code

    def stop(self):
        return self._end(signal.SIGTERM)

    def kill(self):
        return self._end(signal.SIGKILL)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def said(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def do(self, *words, **how):
        """`tributary WORDS...` with DIR after the command's words: do('hub invite', 'site')."""
        return tributary(*words[0].split(), self.dir, *words[1:], **how)[0]

    def status(self):
        out, err = tributary("status", self.dir, "--json", code=None)
        if not out:
            raise Refused(f"status of {self.name}: {err}")
        return json.loads(out)


class Hub(Node):
    def __init__(self, world):
        super().__init__(world, "hub", "hub")
        self.port = free_port()
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        tributary("hub", "init", self.dir, "--name", "总部", "--listen", self.endpoint, "--advertise", self.endpoint)

    def invite(self, site, *options):
        return self.do("hub invite", site, *options).strip().splitlines()[-1]

    def sites(self):
        return {s["site"]: s for s in self.status()["sites"]}

    def query(self, sql, *values):
        db = sqlite3.connect(f"file:{self.dir}/hub.db?mode=ro", uri=True, timeout=10)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def write(self, sql):
        """Behind the hub's back: damage. Only while it does not run."""
        db = sqlite3.connect(f"{self.dir}/hub.db", timeout=10)
        with db:
            db.execute(sql)
        db.close()


class Branch(Node):
    def __init__(self, world, name, *options, endpoint=None):
        super().__init__(world, "branch", name)
        world.hub.invite_options = options
        token = world.hub.invite(name, *options)
        tributary("branch", "join", self.dir, token)
        if endpoint:
            self.use_endpoint(endpoint)

    def use_endpoint(self, endpoint):
        """Through another address (a proxy that the test can cut)."""
        path = os.path.join(self.dir, "node.ini")
        with open(path, "a", encoding="utf-8") as conf:
            conf.write(f"via = {endpoint}\n")

    def sql(self, text, *values):
        """One statement in its own transaction, as any other program would write."""
        db = sqlite3.connect(f"{self.dir}/replica.db", timeout=10)
        try:
            with db:
                return db.execute(text, values).fetchall()
        finally:
            db.close()

    def shell(self, text, code=0):
        """The plain sqlite3 shell."""
        done = subprocess.run(["sqlite3", "-bail", "-cmd", ".timeout 10000", f"{self.dir}/replica.db"], input=text, capture_output=True, text=True)
        if code is not None and done.returncode != code:
            raise Refused(f"sqlite3: {text}: exit {done.returncode}\n{done.stderr}")
        return done.stdout if code == 0 else done.stderr

    def customer(self, row, name, mobile=None, **columns):
        """One card with one contact in one transaction."""
        db = sqlite3.connect(f"{self.dir}/replica.db", timeout=10)
        try:
            with db:
                names = ["id", "kind", "name", *columns]
                db.execute(f"INSERT INTO customer({','.join(names)}) VALUES({','.join('?' * len(names))})",
                           (row, "person", name, *columns.values()))
                if mobile:
                    db.execute("INSERT INTO contact(id, customer_id, kind, value) VALUES(?,?,'mobile',?)", (row + "-m", row, mobile))
        finally:
            db.close()

    def in_sync(self, seconds=SYNC_SECONDS):
        tributary("status", self.dir, "--wait", seconds, "--quiet", timeout=seconds + 30)

    def row(self, table, row):
        """'saved here', 'at headquarters' or 'refused: why'."""
        return self.do("status", "--row", f"{table}/{row}", code=None).strip()


class World:
    def __init__(self, folder, branches=(), start=True):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.hub = Hub(self)
        self.branches = {}
        if start:
            self.hub.start()
            for name in branches:
                self.branch(name).start()

    def branch(self, name, *options, endpoint=None):
        node = Branch(self, name, *(options or ("--region", "CN", "--area-code", "021")), endpoint=endpoint)
        self.branches[name] = node
        return node

    def in_sync(self, seconds=SYNC_SECONDS):
        """Everything the branches hold is at headquarters, and everything headquarters has for them is at the branches."""
        for node in self.branches.values():
            if node.alive():
                node.in_sync(seconds)
        tributary("status", self.hub.dir, "--wait", seconds, "--quiet", timeout=seconds + 30)

    def close(self):
        """Ends all daemons; gives what each ended with."""
        codes = {}
        for node in [*self.branches.values(), self.hub]:
            if node.process:
                codes[node.name] = node.stop()
        return codes


def until(what, seconds=30, step=0.05):
    """Waits for what() to be true, and gives it; the bound is for broken code only."""
    deadline = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {seconds} s: {what}")
        time.sleep(step)
