"""Limits of the propagation delay of paths, as a person states them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from topology_sync.errors import InputError
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray


def delay_limits(scenario: Scenario, of_class: Sequence[str], stretch: float | None) -> FloatArray | None:
    """Seconds per demand, [demands], infinite without a limit; None where nothing is limited.

    ``of_class`` are entries CLASS=MILLISECONDS; ``stretch`` bounds every demand by that many times its own least delay.
    Raises InputError.
    """
    if not of_class and stretch is None:
        return None
    traffic = scenario.traffic
    limit = np.full(traffic.demand_count, np.inf)
    for entry in of_class:
        name, equals, text = entry.rpartition("=")
        try:
            milliseconds = float(text)
        except ValueError:
            milliseconds = math.nan
        if not equals or not 0 <= milliseconds < math.inf:
            raise InputError("--max-delay", f"is '{entry}'", "give CLASS=MILLISECONDS, such as voice=20")
        if name not in traffic.class_names:
            raise InputError("--max-delay", f"there is no class '{name}'", f"one of {', '.join(traffic.class_names)}")
        limit[traffic.traffic_class == traffic.class_names.index(name)] = milliseconds * 1e-3
    if stretch is not None:
        from optimizer.exact.delay_pricing import least_delays
        from optimizer.exact.flow_problem import FlowProblem

        least = least_delays(FlowProblem.of(scenario.topology, traffic))
        limit = np.minimum(limit, stretch * least[traffic.source, traffic.target] * (1.0 + 1e-9))
    return limit
