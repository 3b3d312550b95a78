"""Every decision with its inputs, prediction, plan, outcome and reason, in SQLite, so that each can be explained.

Write-ahead log and full synchronisation: what was recorded survives ``kill -9`` and power loss.  A file that SQLite
cannot read is set aside, never deleted, and a new one begun.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from topology_sync.errors import UnavailableError

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
FILE_NAME = "history.sqlite"
BUSY_TIMEOUT_S = 5.0
DECISIONS_KEPT = 10_000
STATES_KEPT = 500  # whole snapshots are large: older decisions keep all but theirs
OPEN_STATUSES = ("proposed", "awaiting_approval", "applying", "verifying", "rolling_back")

_SCHEMA = """
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY,
    time_s REAL NOT NULL,
    trigger TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    summary TEXT NOT NULL,
    detail BLOB NOT NULL,
    state BLOB
);
CREATE TABLE memory (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass
class Decision:
    """One decision.  ``summary`` is small and listed, ``detail`` is everything else that explains it, both JSON.

    ``status``: proposed, awaiting_approval, applying, verifying, rolling_back, or an end: kept, rolled_back,
    rollback_failed, no_better_plan, rejected, withdrawn, failed.  ``reason`` says why in plain words.
    """

    id: int
    time_s: float
    trigger: str
    status: str
    reason: str
    summary: dict[str, Any] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self, full: bool = False) -> dict[str, Any]:
        """The JSON form; ``full`` with everything but the state snapshot."""
        short = {
            "id": self.id,
            "time_s": self.time_s,
            "trigger": self.trigger,
            "status": self.status,
            "reason": self.reason,
            **self.summary,
        }
        return {**short, **self.detail} if full else short


class History:
    """The store.  Methods may be called from any thread; each commits before it returns."""

    def __init__(self, directory: Path) -> None:
        """Open or begin the history in ``directory``.  Raises UnavailableError when that cannot be written."""
        self.path = directory / FILE_NAME
        self._lock = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = _open(self.path)
            except sqlite3.DatabaseError as error:
                aside = self.path.with_name(f"{FILE_NAME}.unreadable-{int(time.time())}")
                log.error("history %s is not readable (%s): set aside as %s, a new one begins", self.path, error, aside)
                self.path.rename(aside)
                for suffix in ("-wal", "-shm"):
                    self.path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
                self._connection = _open(self.path)
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(
                f"{self.path}: cannot be opened ({error}); check directory and permissions"
            ) from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def save(self, decision: Decision, state: dict[str, Any] | None = None) -> None:
        """Write a decision, or what is new of it; ``state`` None leaves the snapshot as it is."""
        summary = json.dumps(decision.summary, allow_nan=False)
        detail = _packed(decision.detail)
        values = (decision.time_s, decision.trigger, decision.status, decision.reason, summary, detail)
        with self._commit() as connection:
            connection.execute(
                "INSERT INTO decisions (time_s, trigger, status, reason, summary, detail, id) VALUES (?,?,?,?,?,?,?) "
                "ON CONFLICT (id) DO UPDATE SET time_s=excluded.time_s, trigger=excluded.trigger, "
                "status=excluded.status, reason=excluded.reason, summary=excluded.summary, detail=excluded.detail",
                (*values, decision.id),
            )
            if state is not None:
                connection.execute("UPDATE decisions SET state=? WHERE id=?", (_packed(state), decision.id))
            connection.execute("UPDATE decisions SET state=NULL WHERE id<=?", (decision.id - STATES_KEPT,))
            connection.execute("DELETE FROM decisions WHERE id<=?", (decision.id - DECISIONS_KEPT,))

    def get(self, decision_id: int) -> Decision | None:
        """One decision, None where there is no such."""
        rows = self._read("WHERE id=?", (decision_id,))
        return rows[0] if rows else None

    def state_of(self, decision_id: int) -> dict[str, Any] | None:
        """The snapshot a decision was made on, as JSON; None where it is no longer kept."""
        with (
            self._lock,
            closing(self._connection.execute("SELECT state FROM decisions WHERE id=?", (decision_id,))) as rows,
        ):
            row = rows.fetchone()
        return None if row is None or row[0] is None else _unpacked(row[0])

    def latest(self, limit: int = 50) -> list[Decision]:
        """Decisions, newest first."""
        return self._read("ORDER BY id DESC LIMIT ?", (limit,))

    def open_decisions(self) -> list[Decision]:
        """Decisions that were under way when the process ended, oldest first."""
        marks = ",".join("?" * len(OPEN_STATUSES))
        return self._read(f"WHERE status IN ({marks}) ORDER BY id", OPEN_STATUSES)

    def last_good(self) -> Decision | None:
        """The last decision whose routing was kept."""
        rows = self._read("WHERE status='kept' ORDER BY id DESC LIMIT 1", ())
        return rows[0] if rows else None

    def last_id(self) -> int:
        """The largest number given to a decision, 0 at the beginning."""
        with self._lock, closing(self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM decisions")) as rows:
            return int(rows.fetchone()[0])

    def remember(self, key: str, value: str) -> None:
        """Keep a small text across restarts."""
        with self._commit() as connection:
            connection.execute("INSERT OR REPLACE INTO memory (key, value) VALUES (?, ?)", (key, value))

    def recall(self, key: str) -> str | None:
        """What was kept under ``key``."""
        with self._lock, closing(self._connection.execute("SELECT value FROM memory WHERE key=?", (key,))) as rows:
            row = rows.fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def _commit(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            yield self._connection

    def _read(self, where: str, values: tuple[Any, ...]) -> list[Decision]:
        query = f"SELECT id, time_s, trigger, status, reason, summary, detail FROM decisions {where}"
        with self._lock, closing(self._connection.execute(query, values)) as rows:
            return [_decision(row) for row in rows.fetchall()]


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            with connection:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"schema version {version}, this program knows {SCHEMA_VERSION}")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
        connection.execute("SELECT id, detail FROM decisions LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _decision(row: tuple[Any, ...]) -> Decision:
    number, time_s, trigger, status, reason, summary, detail = row
    return Decision(number, time_s, trigger, status, reason, json.loads(summary), _unpacked(detail))


def _packed(data: dict[str, Any]) -> bytes:
    return zlib.compress(json.dumps(data, allow_nan=False, separators=(",", ":")).encode(), 6)


def _unpacked(blob: bytes) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(zlib.decompress(blob))
    return data
