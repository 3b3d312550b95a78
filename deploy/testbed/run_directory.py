"""The temporary directory of one testbed: locked while its testbed lives, so that what a dead one left can be told."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

PREFIX = "routewright-testbed-"
_LOCK = "lock"


class RunDirectory:
    """A directory that is removed at the end, or by the next testbed when this one was killed.

    The lock is the kernel's: it is gone the moment the process is, and cannot be mistaken for one of a later process
    with the same number.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = Path(tempfile.gettempdir()) if parent is None else parent
        self.path = Path()
        self._lock = -1

    def __enter__(self) -> RunDirectory:
        remove_stale(self._parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_stale(parent: Path) -> list[Path]:
    """Remove directories of testbeds that are no more: ours by name and owner, and not locked."""
    removed = []
    for directory in parent.glob(f"{PREFIX}*"):
        lock = directory / _LOCK
        try:
            if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
                continue
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # just being made, or not one of ours
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
            removed.append(directory)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
    return removed
