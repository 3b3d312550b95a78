"""Files that commands write for people: whole or not at all, and refused in one line before long work, not after it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from topology_sync.errors import InputError


def check_output(path: Path) -> None:
    """Raise InputError where ``path`` cannot be written, so that nobody works for minutes for nothing."""
    target = Path(os.path.realpath(path))
    try:
        folder = target.parent
        while not folder.exists():
            folder = folder.parent  # `output_file` makes the missing ones
        if target.is_dir():
            raise _unwritable(path, "is a directory")
        if not folder.is_dir():
            raise _unwritable(path, f"{folder} is no directory")
        if not os.access(folder if _replaceable(target) else target, os.W_OK):
            raise _unwritable(path, "permission denied")
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def check_output_folder(path: Path) -> None:
    """Raise InputError where no files can be put into the folder ``path``, which need not be there yet."""
    try:
        check_output(path / "file")
    except InputError as error:
        problem = "is no directory" if path.exists() and not path.is_dir() else "permission denied"
        raise InputError(str(path), f"cannot be written ({problem})", "choose another folder") from error


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """A file to write, with the ending of ``path``: it becomes ``path`` when the block ends well, else it is removed.

    Missing folders are made.  Devices, pipes and what a link leads to are written, not replaced.  Raises InputError
    instead of OSError.
    """
    target = Path(os.path.realpath(path))
    # the name is cut, lest a long one become too long
    partial = target.with_name(f".{target.stem[:100]}.{os.getpid()}.partial{target.suffix}")
    try:
        if _replaceable(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            if target.exists():
                partial.chmod(stat.S_IMODE(target.stat().st_mode))
            os.replace(partial, target)
        else:
            yield target
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_output(path: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) as ``output_file`` does."""
    with output_file(path) as file:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


def _replaceable(path: Path) -> bool:
    return not path.exists() or path.is_file()


def _unwritable(path: Path, problem: str) -> InputError:
    return InputError(str(path), f"cannot be written ({problem})", "choose another file")
