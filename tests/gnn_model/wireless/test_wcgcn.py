"""The trained model: what must hold whatever it learned, and that it learned what it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.wireless.channel import Setting, generate
from gnn_model.wireless.model_file import shipped_model
from gnn_model.wireless.rates import sum_rate
from gnn_model.wireless.solving import solve
from gnn_model.wireless.wcgcn import ModelSettings, PowerModel
from gnn_model.wireless.wmmse import Interference, random_starts, wmmse


def gains_of(links: int, layouts: int, seed: int) -> torch.Tensor:
    return torch.tensor(generate(Setting(), links, layouts, seed).gains, dtype=torch.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10_000), st.booleans(), st.booleans())
def test_powers_move_with_the_links(links: int, seed: int, refine: bool, weighted: bool) -> None:
    model = shipped_model("channels").model.double()
    try:
        gains = gains_of(links, 1, seed).double()
        random = np.random.default_rng(seed)
        order = torch.tensor(random.permutation(links))
        weights = torch.tensor(random.uniform(0.1, 1.0, (1, links))) if weighted else None
        alone, refined = model(gains, weights)
        moved_weights = None if weights is None else weights[:, order]
        alone_moved, refined_moved = model(gains[:, order][:, :, order], moved_weights)
        here, there = (refined, refined_moved) if refine else (alone, alone_moved)
        torch.testing.assert_close(here[..., order], there, rtol=1e-5, atol=1e-7)
    finally:
        model.float()


@pytest.mark.parametrize("name", ["channels", "distances"])
@pytest.mark.parametrize("links", [1, 2, 3, 17, 60])
def test_powers_lie_between_silence_and_full_power(name: str, links: int) -> None:
    model = shipped_model(name).model
    for refine in (False, True):
        powers = solve(model, gains_of(links, 5, links), refine=refine)
        assert powers.shape == (5, links)
        assert powers.min() >= 0.0
        assert powers.max() <= 1.0
        if not refine:
            torch.testing.assert_close(powers.amax(-1), torch.ones(5))


@pytest.mark.parametrize("refine", [False, True])
def test_a_link_alone_sends_at_full_power(refine: bool) -> None:
    powers = solve(shipped_model("channels").model, gains_of(1, 4, 9), refine=refine)
    torch.testing.assert_close(powers, torch.ones(4, 1))


def test_layouts_do_not_influence_each_other_in_a_batch() -> None:
    model = shipped_model("channels").model
    gains = gains_of(30, 20, 3)
    alone = torch.cat([solve(model, gains[row : row + 1]) for row in range(20)])
    rates = sum_rate(gains, solve(model, gains))
    torch.testing.assert_close(rates, sum_rate(gains, alone), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("links", "layouts", "wcgcn", "hybrid"), [(50, 40, 1.01, 1.02), (400, 3, 0.98, 1.005)])
def test_trained_at_50_links_it_beats_wmmse_and_carries_over_to_400(
    links: int, layouts: int, wcgcn: float, hybrid: float
) -> None:
    gains = generate(Setting(), links, layouts, 77).gains.astype(np.float32)
    reference = sum_rate(gains, wmmse(gains, random_starts(layouts, 1, links, 5).astype(np.float32), 100)).mean()
    for refine, goal in ((False, wcgcn), (True, hybrid)):
        powers = solve(shipped_model("channels").model, torch.tensor(gains), refine=refine)
        assert sum_rate(gains, powers.numpy()).mean() >= goal * reference


@pytest.mark.parametrize("weighted", [False, True])
def test_layouts_of_different_sizes_in_one_sparse_graph_give_what_batches_give(weighted: bool) -> None:
    model = shipped_model("channels").model
    layouts = [gains_of(links, 1, links) for links in (1, 7, 40)]
    weights = [torch.rand(1, gains.shape[-1]) + 0.1 for gains in layouts] if weighted else None
    together = model.proposals_of_sizes(
        [gains[0] for gains in layouts], None if weights is None else [row[0] for row in weights]
    )
    for index, gains in enumerate(layouts):
        alone = model.proposals(gains, None if weights is None else weights[index])
        torch.testing.assert_close(together[index], alone[0], rtol=1e-4, atol=1e-5)


def test_weights_move_rate_to_the_links_that_have_them() -> None:
    model = shipped_model("channels").model
    gains = gains_of(50, 40, 6)
    weights = torch.full((40, 50), 0.1)
    weights[:, :10] = 1.0
    equal, weighted = solve(model, gains), solve(model, gains, weights)
    assert sum_rate(gains, weighted, weights).mean() > 1.05 * sum_rate(gains, equal, weights).mean()


def test_refinements_are_differentiable_down_to_the_first_layer() -> None:
    torch.manual_seed(1)
    model = PowerModel(ModelSettings(width=8, message_width=8, rounds=2, outputs=2))
    gains = gains_of(10, 4, 1)
    _, refined = model(gains)
    (-Interference.of(gains).sum_rate(refined).mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert model.embedding.weight.grad.abs().max() > 0.0
    assert (model.step_lengths.grad != 0.0).all()
