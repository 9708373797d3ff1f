"""A proxy of TCP that counts what passes, and does something when it is enough."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable


class CountingProxy:
    """Passes connections on to a port of this machine.

    `count` are the bytes that have come from either side. When there are more of them than
    `limit`, `at_limit` is called, once, before any more goes on.
    """

    def __init__(self, port: int, own_port: int = 0) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", own_port))
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        self.count = 0
        self.limit: int | None = None
        # What stands in the place of what, of the same length, in what comes from the client.
        self.rewritten: tuple[bytes, bytes] | None = None
        self.at_limit: Callable[[], None] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # By itself, close would let the thread accept one more.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """End all connections, with what is under way in them."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            try:
                # So that nothing that is left is sent.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                with self._lock:
                    self.count += len(data)
                    is_enough = self.limit is not None and self.count > self.limit
                    if is_enough:
                        self.limit = None
                if is_enough:
                    self.at_limit()
                if self.rewritten:
                    data = data.replace(*self.rewritten)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
