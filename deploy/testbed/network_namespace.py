"""Network namespaces by system call: Python 3.11 has neither ``os.unshare`` nor ``os.setns``."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from topology_sync.errors import UnavailableError

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkNamespace:
    """A handle of a network namespace; the namespace lives at least as long as the handle."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def current(cls) -> NetworkNamespace:
        """The namespace of the calling thread."""
        return cls(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def of_process(cls, process_id: int) -> NetworkNamespace:
        """The namespace of another process."""
        try:
            return cls(os.open(f"/proc/{process_id}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise UnavailableError(f"cannot open the namespace of process {process_id}: {error.strerror}") from error

    @property
    def identity(self) -> int:
        """Inode number: equal for two handles of the same namespace."""
        return os.fstat(self._descriptor).st_ino

    def enter(self) -> None:
        """Move the calling thread into the namespace."""
        _check(_libc.setns(self._descriptor, _CLONE_NEWNET), "setns")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the namespace inside the ``with`` block; sockets opened there stay there."""
        before = NetworkNamespace.current()
        self.enter()
        try:
            yield
        finally:
            before.enter()
            before.close()

    def close(self) -> None:
        """Give the handle back."""
        os.close(self._descriptor)


def unshare_network() -> NetworkNamespace:
    """Move the calling thread, and every process it starts from now on, into a new network namespace (only ``lo``).

    Returns the handle of the namespace it came from.  Needs CAP_SYS_ADMIN.
    """
    original = NetworkNamespace.current()
    _check(_libc.unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    disable_ipv6()
    return original


def disable_ipv6() -> None:
    """No IPv6 on interfaces of the caller's namespace: its neighbour discovery would only be noise in the network."""
    with suppress(OSError):  # a kernel without IPv6
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise UnavailableError(f"{call} failed: {os.strerror(number)} (the testbed needs root)")
