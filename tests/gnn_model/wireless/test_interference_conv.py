"""The convolution: its form for batches agrees with the message passing of PyTorch Geometric."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import MessagePassing

from gnn_model.wireless.channel import Setting, generate
from gnn_model.wireless.features import link_graph
from gnn_model.wireless.interference_conv import InterferenceConv, sparse_form


def layouts(links: int, count: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.tensor(generate(Setting(), links, count, seed).gains, dtype=torch.float32)


@pytest.mark.parametrize("links", [2, 5, 30])
def test_the_batched_form_gives_what_message_passing_gives(links: int) -> None:
    torch.manual_seed(links)
    convolution = InterferenceConv(8, 6, 2)
    assert isinstance(convolution, MessagePassing)
    assert convolution.aggr == "max"
    graph = link_graph(layouts(links), 7)
    states = torch.randn(3, links, 8)
    batched = convolution.forward_regular(states, graph.neighbours, graph.edges)
    for row in range(3):
        edge_index, edges = sparse_form(graph.neighbours[row], graph.edges[row])
        torch.testing.assert_close(batched[row], convolution(states[row], edge_index, edges))


def test_message_passing_takes_graphs_of_different_sizes_in_one_call() -> None:
    torch.manual_seed(0)
    convolution = InterferenceConv(8, 6, 2)
    sizes, parts, offset = (4, 9), [], 0
    for size in sizes:
        graph = link_graph(layouts(size, 1, size), 5)
        edge_index, edges = sparse_form(graph.neighbours[0], graph.edges[0])
        states = torch.randn(size, 8)
        parts.append((states, edge_index + offset, edges, convolution(states, edge_index, edges)))
        offset += size
    together = convolution(
        torch.cat([part[0] for part in parts]),
        torch.cat([part[1] for part in parts], dim=1),
        torch.cat([part[2] for part in parts]),
    )
    torch.testing.assert_close(together, torch.cat([part[3] for part in parts]))


def test_a_link_without_neighbours_hears_silence() -> None:
    convolution = InterferenceConv(8, 6, 2)
    states = torch.randn(2, 1, 8)
    none = torch.zeros(2, 1, 0, dtype=torch.long)
    batched = convolution.forward_regular(states, none, torch.zeros(2, 1, 0, 2))
    sparse = convolution(states[0], torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, 2))
    torch.testing.assert_close(batched[0], sparse)


def test_both_directions_of_the_interference_are_in_the_edges_and_they_differ() -> None:
    gains = layouts(12, 1)
    graph = link_graph(gains, 11)
    suffered, caused = graph.edges[0, ..., 0], graph.edges[0, ..., 1]
    assert not torch.isclose(suffered, caused).any()
    for link in range(12):
        for place, other in enumerate(graph.neighbours[0, link].tolist()):
            back = graph.neighbours[0, other].tolist().index(link)
            # what i causes to j is what j suffers from i
            torch.testing.assert_close(caused[link, place], suffered[other, back])
            ratio = 10.0 * torch.log10(gains[0, link, other] / gains[0, link, link])
            torch.testing.assert_close(suffered[link, place] * 20.0 - 30.0, ratio, rtol=1e-4, atol=1e-3)


def test_the_strongest_couplings_of_either_direction_are_chosen() -> None:
    gains = torch.eye(6)[None] * 10.0 + 1e-3
    gains[0, 2, 4] = 5.0  # 4 disturbs 2
    neighbours = link_graph(gains, 1).neighbours[0]
    assert neighbours[2].item() == 4
    assert neighbours[4].item() == 2
