"""What a process that has children waits for: one that ends, or a signal that asks to stop.

Signals are blocked and taken one by one, since only `sigtimedwait` tells where one comes from:
what the terminal sends, the children have already. Where there is none, handlers collect them.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SENT_BY_KERNEL = 0x80
# A day: what is waited for comes before, or is waited for again.
_FOREVER = 86_400.0


class Attention:
    """Has, within a context, signals wait until they are asked for; of the main thread."""

    def __init__(self) -> None:
        self._handlers: dict[int, object] = {}
        self._mask: set[int] = set()
        self._wake: tuple[int, int] | None = None
        self._old_wake = -1
        self._caught: list[int] = []

    def __enter__(self) -> Attention:
        # A shell ignores signals for a command in the background, as nohup does.
        stops = [n for n in _STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        numbers = [*stops, signal.SIGCHLD]
        if hasattr(signal, "sigtimedwait"):
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        else:
            self._wake = os.pipe()
            for fd in self._wake:
                os.set_blocking(fd, False)
            self._old_wake = signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in numbers:
            # Also where they are blocked: some systems drop what would be ignored.
            self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._let_go()

    def _let_go(self) -> None:
        if self._wake is not None:
            signal.set_wakeup_fd(self._old_wake)
            for fd in self._wake:
                os.close(fd)
        else:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def wait(self, timeout: float | None) -> list[tuple[int, bool]]:
        """Wait, at most for some seconds; return signals to stop, and whether the terminal's."""
        found: list[tuple[int, bool]] = []
        if self._wake is not None:
            select.select([self._wake[0]], [], [], timeout)
            self._clear(self._wake[0])
            caught, self._caught = self._caught, []
            return [(number, False) for number in caught if number != signal.SIGCHLD]
        while True:
            info = signal.sigtimedwait(self._handlers, _FOREVER if timeout is None else timeout)
            # Where this process was stopped until the time was over, Python makes up a signal.
            if info is None or info.si_signo not in self._handlers:
                return found
            if info.si_signo != signal.SIGCHLD:
                found.append((info.si_signo, info.si_code == _SENT_BY_KERNEL))
            # What else has come already.
            timeout = 0

    def pending(self) -> list[int]:
        """Return the signals to stop that have come and were not asked for yet."""
        if self._wake is not None:
            return [number for number in self._caught if number != signal.SIGCHLD]
        return [n for n in self._handlers if n in signal.sigpending() and n != signal.SIGCHLD]

    def leave_to(self, stop: Callable[[int, object], None]) -> None:
        """Leave, in a child that was forked, its own signals to a handler."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else stop)
        self._let_go()

    def _handle(self, number: int, frame: object) -> None:
        self._caught.append(number)

    @staticmethod
    def _clear(fd: int) -> None:
        try:
            while os.read(fd, 512):
                pass
        except BlockingIOError:
            pass
