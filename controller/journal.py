"""The controller's news, numbered, for those who wait for them over HTTP."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from ryu.lib import hub

LOG = logging.getLogger(__name__)
KEPT = 1000

Kind: TypeAlias = Literal["topology", "switch", "host", "routing", "error"]


@dataclass(frozen=True)
class Entry:
    """One piece of news.  ``time_s`` is seconds since the epoch."""

    number: int
    time_s: float
    kind: Kind
    detail: str


class Journal:
    """The last entries; ``wait_after`` blocks the calling greenlet until there is something newer."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last = 0
        self._news = hub.Event()

    @property
    def last(self) -> int:
        """Number of the newest entry, 0 before the first."""
        return self._last

    def add(self, kind: Kind, detail: str) -> None:
        """Note something and wake whoever waits."""
        self._last += 1
        self._entries.append(Entry(self._last, time.time(), kind, detail))
        LOG.log(logging.ERROR if kind == "error" else logging.INFO, "%s: %s", kind, detail)
        woken, self._news = self._news, hub.Event()
        woken.set()

    def after(self, number: int) -> list[Entry]:
        """Entries newer than ``number``, as far as they are still kept."""
        return [entry for entry in self._entries if entry.number > number]

    def wait_after(self, number: int, wait_s: float) -> list[Entry]:
        """Like ``after``, but waits up to ``wait_s`` for the first one.

        A ``number`` from before a restart may be larger than any of ours: then everything is news.
        """
        if number > self._last:
            number = 0
        found = self.after(number)
        if not found and wait_s > 0:
            self._news.wait(wait_s)
            found = self.after(number)
        return found

    def to_json(self, entries: list[Entry]) -> dict[str, Any]:
        """The answer of ``GET /api/v1/events``."""
        return {"events": [asdict(entry) for entry in entries], "last": self._last}
