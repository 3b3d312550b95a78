"""A recipe whose samples take milliseconds."""

from __future__ import annotations

import pytest

from gnn_model.dataset.recipe import DatasetRecipe


@pytest.fixture
def tiny() -> DatasetRecipe:
    """Networks of 4 to 6 nodes, simulated for 20,000 packet-hops."""
    return DatasetRecipe(nodes=(4, 6), relative_error=0.4, max_hops=20_000)
