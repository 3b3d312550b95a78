"""Says how a run goes: one line per step on standard error, with a spinner while it lasts on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status


class Progress:
    """Steps of a run.  ``note`` changes the text of the step under way, on terminals only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._began = time.monotonic()
        self._step = ""

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step: its text at once, the time it took at the end."""
        started = time.monotonic()
        self._step = text
        if not self._console.is_terminal:
            yield
        else:
            with self._console.status(text) as self._status:
                try:
                    yield
                finally:
                    self._status = None
        self.say(f"{text}  [dim]{time.monotonic() - started:.1f} s[/dim]")

    def note(self, text: str) -> None:
        """Where the step under way stands."""
        if self._status is not None:
            self._status.update(f"{self._step}  [dim]{text}[/dim]")

    def say(self, text: str) -> None:
        """One line, with the time since the beginning."""
        self._console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/dim]  {text}", highlight=False)
