"""Child processes that never outlive their parent and are stopped in good order."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from topology_sync.errors import UnavailableError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

Child = subprocess.Popen[bytes]


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the thread that started it is gone; run in the child before exec.

    ``parent`` is the process id of the one that started us: if it died before the request was in place, nobody would
    ever send the signal.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def start_child(
    command: Sequence[str | os.PathLike[str]],
    *,
    log: Path | None = None,
    errors: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
    environment: Mapping[str, str] | None = None,
    before_exec: Callable[[], None] | None = None,
    directory: Path | None = None,
) -> Child:
    """Start a process that gets SIGKILL when this one ends.  Call from the main thread: the signal follows the thread.

    Output goes to ``log`` (appended), or to ``stdout`` with complaints going to ``errors`` or beside it.  The child has
    its own session, so that Ctrl-C on the terminal reaches only the parent, which stops its children in order.
    """
    parent = os.getpid()

    def prepare() -> None:
        die_with_parent(parent)
        if before_exec is not None:
            before_exec()

    with ExitStack() as files:
        complaints = files.enter_context(errors.open("ab")) if errors is not None else subprocess.STDOUT
        output = files.enter_context(log.open("ab")) if log is not None else stdout
        try:
            return subprocess.Popen(
                command,
                stdin=stdin,
                stdout=output,
                stderr=complaints if output is not None else None,
                env=None if environment is None else {**os.environ, **environment},
                cwd=directory,
                start_new_session=True,
                preexec_fn=prepare,
            )
        except OSError as error:
            raise UnavailableError(f"cannot start {command[0]!s}: {error.strerror}") from error


def stop_child(child: Child, grace_s: float = 5.0) -> int:
    """SIGTERM, then SIGKILL after ``grace_s``; returns the exit status."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait(10)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str, period_s: float = 0.02) -> None:
    """Poll until ``condition`` holds.  Raises UnavailableError ("WHAT after N s") when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise UnavailableError(f"{what} after {timeout_s:g} s")
        time.sleep(period_s)


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log file in one line, for messages."""
    try:
        return " | ".join(log.read_text(errors="replace").strip().splitlines()[-count:])
    except OSError:
        return ""
