"""A TCP line that a test can cut and restore, or make slow: Proxy((host, port)) listens on `.port` of 127.0.0.1."""
import select
import socket
import threading
import time


class Proxy:
    def __init__(self, target, delay=0.0, port=0):
        self.target, self.delay = target, delay
        self._pairs, self._up, self._end = [], True, False
        self._lock = threading.Lock()
        self._listener = None
        self.port = port
        self.bytes = 0
        self._listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _listen(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", self.port))
        s.listen(64)
        self.port = s.getsockname()[1]
        self._listener = s

    def cut(self):
        """Closes every connection and refuses new ones."""
        with self._lock:
            self._up = False
            self._listener.close()
            self._drop()

    def restore(self):
        with self._lock:
            self._listen()
            self._up = True

    def reset(self):
        """Closes what is open; new connections are taken."""
        with self._lock:
            self._drop()

    def close(self):
        self._end = True
        self._thread.join(5)
        with self._lock:
            self._listener.close()
            self._drop()

    def _drop(self):
        for pair in self._pairs:
            for s in pair:
                s.close()
        self._pairs = []

    def _accept(self):
        client, _ = self._listener.accept()
        try:
            hub = socket.create_connection(self.target, 5)
        except OSError:
            client.close()
            return
        for s in (client, hub):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.append((client, hub))

    def _pass_on(self, pair, source):
        other = pair[1] if source is pair[0] else pair[0]
        try:
            data = source.recv(65536)
            if data:
                if self.delay:
                    time.sleep(self.delay)
                other.sendall(data)
                self.bytes += len(data)
                return
        except OSError:
            pass
        for s in pair:
            s.close()
        self._pairs.remove(pair)

    def _run(self):
        while not self._end:
            with self._lock:
                wait = ([self._listener] if self._up else []) + [s for pair in self._pairs for s in pair]
            try:
                ready = select.select(wait, [], [], 0.05)[0] if wait else time.sleep(0.05) or []
            except (OSError, ValueError):  # closed by cut() meanwhile
                continue
            with self._lock:
                for s in ready:
                    if s is self._listener and self._up:
                        self._accept()
                    else:
                        for pair in [p for p in self._pairs if s in p]:
                            self._pass_on(pair, s)
