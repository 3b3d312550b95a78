"""Quantiles of delays: against sampled packets, and that both searches and the gradient agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gnn_model.acceleration import COMPILED
from gnn_model.routenet import delay_quantile
from gnn_model.routenet.delay_quantile import PathWaits
from gnn_model.routenet.readout import NORMAL_90, NORMAL_99

SIZES = ((-0.7, 0.5), (0.7, 0.5)), ((0.0, 1.0),), ((-0.5, 0.93), (1.5, 0.05), (16.5, 0.02))


def waits(idle: float, mean: float, sizes: tuple[tuple[float, float], ...], continuous: bool = False) -> PathWaits:
    """One path: packets wait for an exponential time of this mean, or with probability ``idle`` not at all."""
    atoms, chance = torch.zeros(1, 5), torch.zeros(1, 5)
    for column, (offset, part) in enumerate(sizes):
        atoms[0, column], chance[0, column] = offset, part
    first, second, third = (1 - idle) * mean, (1 - idle) * 2 * mean**2, (1 - idle) * 6 * mean**3

    def tensor(value: float) -> Tensor:
        return torch.tensor([value])

    return PathWaits.of(
        tensor(first),
        tensor(second - first**2),
        tensor(third - 3 * first * second + 2 * first**3),
        torch.log(tensor(max(idle, 1e-9))),
        tensor(float(continuous)),
        atoms,
        chance,
    )


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("idle", [0.0, 0.5, 0.95, 0.995])
def test_quantiles_are_those_of_sampled_packets(idle: float, sizes: tuple[tuple[float, float], ...]) -> None:
    rng = np.random.default_rng(1)
    offset, chance = (np.array(column) for column in zip(*sizes, strict=True))
    own = rng.choice(offset, 400_000, p=chance)
    sample = own + np.where(rng.random(400_000) < idle, 0.0, rng.exponential(0.8, 400_000))
    for normal, probability in ((NORMAL_90, 0.9), (NORMAL_99, 0.99)):
        found = float(waits(idle, 0.8, sizes).quantile(normal)[0])
        assert found == pytest.approx(np.quantile(sample, probability), abs=0.04 * (1.6 + abs(found)))


def test_continuous_sizes_have_the_quantile_of_the_gamma_distribution() -> None:
    found = float(waits(0.0, 1.0, ((0.0, 1.0),), continuous=True).quantile(NORMAL_99)[0])
    assert found == pytest.approx(np.log(100.0), rel=0.01)


def many(requires_grad: bool) -> tuple[PathWaits, list[Tensor]]:
    torch.manual_seed(3)
    count = 200
    mean = torch.rand(count) + 0.05
    inputs = [mean, mean**2 * (1.5 + torch.rand(count)), mean**3 * (4 + torch.rand(count)), -1 - 2 * torch.rand(count)]
    for value in inputs:
        value.requires_grad_(requires_grad)
    chance = torch.rand(count, 5) + 0.05
    chance = chance / chance.sum(1, keepdim=True)
    return PathWaits.of(*inputs, torch.zeros(count), torch.randn(count, 5) / 2, chance), inputs


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_the_compiled_search_finds_what_the_tensor_search_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    paths, _ = many(False)
    with torch.no_grad():
        compiled = paths.quantile(NORMAL_99)
        monkeypatch.setattr(delay_quantile, "COMPILED", False)
        plain = paths.quantile(NORMAL_99)
    np.testing.assert_allclose(compiled, plain, atol=1e-3)


def test_the_gradient_is_that_of_the_quantile() -> None:
    paths, inputs = many(True)
    paths.quantile(NORMAL_99).sum().backward()  # type: ignore[no-untyped-call]
    base, values = many(False)
    for index in range(3):
        moved = [value.clone() for value in values]
        moved[index] = moved[index] * 1.02
        count = len(moved[0])
        with torch.no_grad():
            other = PathWaits.of(*moved, torch.zeros(count), base.atoms, base.chance).quantile(NORMAL_99)
            change = other - base.quantile(NORMAL_99)
        gradient = inputs[index].grad
        assert gradient is not None
        expected = gradient * values[index].detach() * 0.02
        near = (change - expected).abs() < 0.15 * change.abs() + 2e-3
        assert float(near.float().mean()) > 0.95
