"""Which MPLS label names which path: a pure allocator whose table is kept on disk.

Labels are handed out in a circle over 16..2^20-1 (0-15 are reserved, RFC 3032), so a label that was given back is far
from being handed out again; besides, it stays in quarantine for ``QUARANTINE_ALLOCATIONS`` further allocations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from topology_sync.errors import InputError, TransactionError

FIRST_LABEL = 16
LAST_LABEL = (1 << 20) - 1
QUARANTINE_ALLOCATIONS = 4096


class Hop(NamedTuple):
    """A directed link by where it starts: datapath id and port number of its source."""

    dpid: int
    port: int


class PathOwner(NamedTuple):
    """One explicit path of one demand in one version."""

    demand: int
    version: int
    links: tuple[Hop, ...]


class BypassOwner(NamedTuple):
    """One way around one directed link."""

    link: Hop
    hops: tuple[Hop, ...]


LabelOwner: TypeAlias = PathOwner | BypassOwner


@dataclass(frozen=True)
class LabelTable:
    """Who holds which label.  ``retired`` maps a label given back to the value of ``allocations`` at that time.

    ``next_label`` is where the search goes on, ``allocations`` counts all labels ever handed out.
    """

    owners: Mapping[int, LabelOwner] = field(default_factory=dict)
    retired: Mapping[int, int] = field(default_factory=dict)
    next_label: int = FIRST_LABEL
    allocations: int = 0
    quarantine: int = QUARANTINE_ALLOCATIONS

    def allocate(self, owners: Sequence[LabelOwner]) -> tuple[LabelTable, tuple[int, ...]]:
        """A label for each owner, in order; an owner that holds one already gets the same again.

        Raises TransactionError when all labels are held or in quarantine.
        """
        held = {owner: label for label, owner in self.owners.items()}
        table = dict(self.owners)
        retired = dict(self.retired)
        label, allocations = self.next_label, self.allocations
        for owner in owners:
            if owner in held:
                continue
            for _ in range(LAST_LABEL - FIRST_LABEL + 1):
                free = label not in table and allocations - retired.get(label, -self.quarantine) >= self.quarantine
                if free:
                    break
                label = _after(label)
            else:
                raise TransactionError("every MPLS label is in use or was until just now; route fewer paths at once")
            table[label] = owner
            held[owner] = label
            retired.pop(label, None)
            label, allocations = _after(label), allocations + 1
        changed = replace(self, owners=table, retired=retired, next_label=label, allocations=allocations)
        return changed, tuple(held[owner] for owner in owners)

    def keep_only(self, labels: Iterable[int]) -> LabelTable:
        """Give back every label but these: call it when no switch has rules of the others any more."""
        kept = frozenset(labels)
        gone = {label: self.allocations for label in self.owners if label not in kept}
        owners = {label: owner for label, owner in self.owners.items() if label in kept}
        return replace(self, owners=owners, retired=self._still_retired() | gone)

    def avoid(self, labels: Iterable[int]) -> LabelTable:
        """Put labels that were found on switches, but that nobody here holds, into quarantine."""
        found = {label: self.allocations for label in labels if label not in self.owners and label >= FIRST_LABEL}
        return replace(self, retired={**self.retired, **found}) if found else self

    def _still_retired(self) -> dict[int, int]:
        return {label: at for label, at in self.retired.items() if self.allocations - at < self.quarantine}

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` takes."""
        return {
            "next_label": self.next_label,
            "allocations": self.allocations,
            "quarantine": self.quarantine,
            "retired": [[label, at] for label, at in sorted(self.retired.items())],
            "paths": [
                [label, owner.demand, owner.version, [list(hop) for hop in owner.links]]
                for label, owner in sorted(self.owners.items())
                if isinstance(owner, PathOwner)
            ],
            "bypasses": [
                [label, list(owner.link), [list(hop) for hop in owner.hops]]
                for label, owner in sorted(self.owners.items())
                if isinstance(owner, BypassOwner)
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelTable:
        """Read what ``to_json`` gave.  Raises InputError when it is something else."""
        try:
            owners: dict[int, LabelOwner] = {
                label: PathOwner(demand, version, tuple(Hop(*hop) for hop in links))
                for label, demand, version, links in data["paths"]
            }
            for label, link, hops in data["bypasses"]:
                owners[label] = BypassOwner(Hop(*link), tuple(Hop(*hop) for hop in hops))
            return cls(
                owners,
                dict(data["retired"]),
                data["next_label"],
                data["allocations"],
                data["quarantine"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("labels", f"is no label table ({error!r})", "restore the file or remove it") from error


def _after(label: int) -> int:
    return FIRST_LABEL if label == LAST_LABEL else label + 1
