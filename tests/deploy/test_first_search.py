"""The first search after a start meets no kernel that is not loaded: compiling one would take all of its second."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST_SEARCHES = """
import gc, sys
from numba.core.registry import CPUDispatcher
from deploy.testbed.scenarios import make_scenario
from gnn_model.predictor_choice import open_predictor
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.exact.warm_up import warm_up
from optimizer.goals import class_goals, goal_table
from optimizer.local_search import SearchLimits, search
from topology_sync.sources import load_scenario


def loaded():
    return {
        (kernel.py_func.__module__, kernel.py_func.__name__, str(signature))
        for kernel in gc.get_objects()
        if isinstance(kernel, CPUDispatcher)
        for signature in kernel.signatures
    }


predictor = open_predictor(sys.argv[1])
warm_up()
warm = loaded()
assert len(warm) > 5
for kind in ("hotspot", "queues"):
    asked = make_scenario(kind, "topohub:sndlib/nobel-us", load_scenario("topohub:sndlib/nobel-us"), 1).stressed
    table = goal_table(asked.traffic, class_goals(asked.sla))
    candidates = CandidatePaths(asked.topology, UsableLinks.all_of(asked.topology))
    for changes in (20, 3, None):
        limits = SearchLimits(0.5, changes, from_balanced=True, queue_weights=kind == "queues")
        search(asked, table, predictor, candidates, limits)
print(sorted((module, name) for module, name, _ in loaded() - warm))
"""


@pytest.mark.parametrize("predictor", ["gnn", "analytic"])
def test_the_first_search_meets_no_kernel_that_is_not_loaded(predictor: str) -> None:
    if predictor == "gnn":
        pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", FIRST_SEARCHES, predictor], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"
