"""What a path is like in words that people use: how long, how full, in whose company, how regular.

These are no inputs of the network but sums over them.  Each lies inside its range often enough where two together never
did: forty hops, or a port with one flow, but not a stream alone over forty hops.
"""

from __future__ import annotations

import numpy as np

from gnn_model.graph_tensors import HOP_FEATURES, LINK_FEATURES, QUEUE_FEATURES, Features, GraphTensors
from topology_sync.values import FloatArray

MEASURES = {
    "hops": "hops",
    "load": "load of the fullest port",
    "flows": "flows at the fullest port",
    "part": "part of the ports' packets that are its own",
    "company": "hops that all traffic of the port came along together",
    "periodic": "periodic part of the traffic at its ports",
    "size_variance": "variance of packet sizes at its ports",
    "burstiness": "burstiness of its ports",
    "room": "smallest queue in packets",
    "fifo": "part of its ports that serve in the order of arrival",
}
"""Names, and what they are to people."""
LOGARITHMIC = frozenset(("flows", "burstiness", "room"))


def path_measures(graph: GraphTensors) -> FloatArray:
    """[paths, len(MEASURES)]; paths have hops."""
    pointer, queue = graph.hop_pointer, graph.hop_queue
    starts = pointer[:-1]
    lengths = np.diff(pointer)

    def queues(name: str) -> Features:
        column: Features = graph.queue_features[:, QUEUE_FEATURES.index(name)][queue]
        return column

    def hops(name: str) -> Features:
        column: Features = graph.hop_features[:, HOP_FEATURES.index(name)]
        return column

    def mean(values: Features) -> FloatArray:
        return np.add.reduceat(values.astype(np.float64), starts) / lengths

    load = graph.link_features[:, LINK_FEATURES.index("offered")][graph.queue_link[queue]]
    fullest = np.maximum.reduceat(load, starts)
    # Of equally full ports the one with the fewest flows.
    is_fullest = load >= np.repeat(fullest, lengths) * (1 - 1e-6)
    flows = np.exp(2 * np.minimum.reduceat(np.where(is_fullest, queues("log_effective_flows"), np.inf), starts))
    columns = (
        lengths,
        fullest,
        flows,
        mean(np.exp(hops("log_part_of_queue"))),
        np.add.reduceat((hops("same_link_part") * queues("kept")).astype(np.float64), starts),
        mean(queues("part_cbr")),
        np.maximum(mean(queues("second_moment")), 0.0),
        np.exp(2 * np.maximum.reduceat(queues("log_dispersion_32"), starts)),
        np.exp(2 * np.minimum.reduceat(queues("log_room"), starts)),
        mean(queues("fifo")),
    )
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
