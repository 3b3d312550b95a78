"""Reading data sets of our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gnn_model.dataset.manifest import NAME, read_manifest
from gnn_model.dataset.shards import StoredSample, checksum, read_shard
from topology_sync.errors import ScenarioError


def find_datasets(root: Path) -> list[Path]:
    """Folders with a manifest at or below ``root``, sorted; none is no error."""
    if not root.is_dir():
        return []
    return sorted({path.parent for path in root.rglob(NAME)})


def iterate_dataset(folder: Path) -> Iterator[StoredSample]:
    """Samples of one data set in order.  Raises ScenarioError for a shard that is not what the manifest says."""
    manifest = read_manifest(folder)
    for _, shard in sorted(manifest.shards.items()):
        path = folder / shard.file
        if not path.exists() or checksum(path) != shard.sha256:
            raise ScenarioError(str(path), "is missing or damaged", "run `routewright dataset generate` again")
        yield from read_shard(path)
