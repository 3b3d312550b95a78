"""Making a data set: shards in parallel, resumed where an earlier run stopped."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

from gnn_model.dataset.draw import draw
from gnn_model.dataset.manifest import NAME, Manifest, Shard, read_manifest, write_manifest
from gnn_model.dataset.recipe import DatasetRecipe, sample_seed
from gnn_model.dataset.shards import checksum, row_of, write_shard
from topology_sync.errors import InputError, UnavailableError

Backend = Literal["processes", "ray"]
SHARD_SAMPLES = 20


def generate(
    folder: Path,
    recipe: DatasetRecipe,
    seed: int,
    samples: int,
    processes: int = 1,
    backend: Backend = "processes",
    shard_samples: int = SHARD_SAMPLES,
    report: Callable[[Manifest], None] | None = None,
) -> Manifest:
    """Make the samples that ``folder`` lacks; the same call goes on after an interruption, a larger ``samples`` adds.

    A sample depends on recipe, seed and its number alone, whatever the processes.  Raises InputError where the folder
    holds a set of another recipe or seed.
    """
    manifest = _begun(folder, Manifest(recipe, seed, samples, shard_samples))
    missing = [number for number in range(manifest.shard_count) if number not in manifest.shards]
    tasks = [(str(folder), number, seed, tuple(manifest.indices(number)), recipe.to_json()) for number in missing]
    for number, shard in _results(tasks, processes, backend):
        manifest.shards[number] = shard
        write_manifest(folder, manifest)
        if report is not None:
            report(manifest)
    return manifest


def _begun(folder: Path, wanted: Manifest) -> Manifest:
    """The manifest to go on with: only shards that are whole and unchanged count as done."""
    folder.mkdir(parents=True, exist_ok=True)
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

    started = time.perf_counter()
    drawn = draw(recipe, seed, f"sample{index}")
    error = recipe.relative_error / recipe.longer**0.5
    simulator = PacketSimulator(error, seed, round(recipe.max_hops * recipe.longer))
    return row_of(index, seed, drawn, simulator.simulate(drawn.scenario), time.perf_counter() - started)


def _results(tasks: Sequence[Task], processes: int, backend: Backend) -> Iterator[tuple[int, Shard]]:
    if backend == "ray":
        yield from _on_ray(tasks)
        return
    if processes == 1 or len(tasks) < 2:
        yield from map(make_shard, tasks)
        return
    # Spawned, not forked: numba and its threads do not survive a fork.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(make_shard, task) for task in tasks]
        try:
            for done in as_completed(running):
                yield done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _on_ray(tasks: Sequence[Task]) -> Iterator[tuple[int, Shard]]:
    """One Ray task per shard; the folder must be one that all its machines share."""
    try:
        import ray
    except ModuleNotFoundError:
        raise UnavailableError("--backend ray needs Ray; install ray, or use --backend processes") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    remote = ray.remote(make_shard)
    waiting = [remote.remote(task) for task in tasks]
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        yield from ray.get(done)
