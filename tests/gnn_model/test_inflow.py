"""What is known of where a port's traffic comes from, and sizes of few values."""

from __future__ import annotations

import numpy as np
import pytest

from gnn_model.inflow import Inflow
from gnn_model.size_atoms import ATOMS, SizeAtoms
from topology_sync.topology import Link, Topology
from topology_sync.traffic import PacketSize


def test_inflow_of_a_merging_of_two_links() -> None:
    """a and b send to d over c: a's flow alone, b's two flows together; c's own traffic is fresh."""
    links = [Link("a", "c", 1e6), Link("b", "c", 2e6), Link("c", "d", 4e6)]
    topology = Topology.from_links(("a", "b", "c", "d"), links)
    pointer = np.array([0, 2, 4, 6, 7])
    hop_link = np.array([0, 2, 1, 2, 1, 2, 2])
    load = np.array([0.4, 0.1, 0.2, 0.1, 0.2, 0.1, 0.1])
    found = Inflow.of(topology, pointer, hop_link, load)
    assert found.first.tolist() == [True, False, True, False, True, False, True]
    assert found.same_part == pytest.approx([0, 0.25, 0, 0.5, 0, 0.5, 0])
    assert found.capacity_step == pytest.approx(np.log([1, 0.25, 1, 0.5, 1, 0.5, 1]))
    assert found.fresh == pytest.approx([1, 1, 0.25])
    assert found.concentration == pytest.approx([0, 0, 0.25**2 + 0.5**2])
    assert found.kept == pytest.approx([0, 0, 0.75])
    assert found.supply == pytest.approx([0, 0, 0.25 + 0.5])


def test_sizes_of_few_values_are_atoms_others_are_continuous() -> None:
    many = PacketSize("discrete", tuple(float(n + 1) for n in range(ATOMS + 1)), (1 / (ATOMS + 1),) * (ATOMS + 1))
    two = PacketSize("discrete", (100.0, 300.0), (0.5, 0.5))
    atoms = SizeAtoms.of([PacketSize("constant"), PacketSize(), two, many])
    assert atoms.continuous.tolist() == [False, True, False, True]
    assert atoms.offset[2] == pytest.approx([-0.5, 0.5, 0, 0, 0])
    assert (atoms.chance * atoms.offset).sum(axis=1) == pytest.approx(np.zeros(4))
    assert atoms.chance.sum(axis=1) == pytest.approx(np.ones(4))
    assert atoms.largest[2] == pytest.approx(1.5)
