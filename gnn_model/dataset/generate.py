"""Making a data set: shards in parallel, resumed where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from gnn_model.dataset.draw import draw
from gnn_model.dataset.manifest import NAME, Manifest, Shard, read_manifest, write_manifest
from gnn_model.dataset.recipe import DatasetRecipe, sample_seed
from gnn_model.dataset.shards import PARTIAL, checksum, row_of, write_shard
from gnn_model.dataset.workers import on_processes, on_ray
from topology_sync.errors import InputError, UnavailableError

Backend = Literal["processes", "ray"]
SHARD_SAMPLES = 20


def generate(
    folder: Path,
    recipe: DatasetRecipe,
    seed: int,
    samples: int,
    processes: int | None = None,
    backend: Backend = "processes",
    shard_samples: int = SHARD_SAMPLES,
    report: Callable[[Manifest], None] | None = None,
) -> Manifest:
    """Make the samples that ``folder`` lacks; the same call goes on after an interruption, a larger ``samples`` adds.

    ``processes``: at most so many shards at once; None: one, on Ray as many as it has processors.  A sample depends on
    recipe, seed and its number alone, and so does the file of a shard, whoever makes it.  Raises InputError where the
    folder holds a set of another recipe or seed, UnavailableError where a worker was ended.
    """
    manifest = _begun(folder, Manifest(recipe, seed, samples, shard_samples))
    missing = [number for number in range(manifest.shard_count) if number not in manifest.shards]
    tasks = [(str(folder), number, seed, tuple(manifest.indices(number)), recipe.to_json()) for number in missing]
    made = on_ray(make_shard, tasks, processes) if backend == "ray" else on_processes(make_shard, tasks, processes or 1)
    with closing(made):
        for number, shard in made:
            if not (folder / shard.file).exists():
                raise UnavailableError(
                    f"{folder / shard.file} was written elsewhere; give a folder that all machines share"
                )
            manifest.shards[number] = shard
            write_manifest(folder, manifest)
            if report is not None:
                report(manifest)
    return manifest


def _begun(folder: Path, wanted: Manifest) -> Manifest:
    """The manifest to go on with: only shards that are whole and unchanged count as done."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"part-*{PARTIAL}"):
        left.unlink(missing_ok=True)  # of a worker that was ended
    if not (folder / NAME).exists():
        if any(folder.glob("*.parquet")):
            raise InputError(str(folder), "holds shards without a manifest", "give an empty folder")
        write_manifest(folder, wanted)
        return wanted
    found = read_manifest(folder)
    if (found.recipe, found.seed, found.shard_samples) != (wanted.recipe, wanted.seed, wanted.shard_samples):
        raise InputError(str(folder), "holds a data set of another recipe or seed", "give another folder")
    for number, shard in found.shards.items():
        path = folder / shard.file
        if tuple(wanted.indices(number)) != tuple(range(shard.first, shard.first + len(shard.seeds))):
            continue  # the last shard of a smaller set: made again, longer
        if path.exists() and checksum(path) == shard.sha256:
            wanted.shards[number] = shard
    write_manifest(folder, wanted)
    return wanted


Task = tuple[str, int, int, tuple[int, ...], dict[str, Any]]


def make_shard(task: Task) -> tuple[int, Shard]:
    """Draw and simulate the samples of one shard and write them."""
    folder, number, seed, indices, recipe_json = task
    recipe = DatasetRecipe.from_json(recipe_json)
    rows, seeds = [], []
    for index in indices:
        chosen = sample_seed(seed, index)
        seeds.append(chosen)
        rows.append(make_sample(recipe, chosen, index))
    name = f"part-{number:05d}.parquet"
    digest = write_shard(Path(folder) / name, rows)
    hops, flows = (sum(row[key] for row in rows) for key in ("packet_hops", "demands"))
    return number, Shard(name, digest, indices[0], tuple(seeds), hops, flows)


def make_sample(recipe: DatasetRecipe, seed: int, index: int) -> dict[str, Any]:
    """The row of one sample."""
    from gnn_model.packet_simulator.simulator import PacketSimulator

    drawn = draw(recipe, seed, f"sample{index}")
    error = recipe.relative_error / recipe.longer**0.5
    simulator = PacketSimulator(error, seed, round(recipe.max_hops * recipe.longer))
    return row_of(index, seed, drawn, simulator.simulate(drawn.scenario))
