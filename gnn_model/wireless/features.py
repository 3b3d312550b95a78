"""What WCGCN sees of a layout: every link with its strongest neighbours, in decibel and free of units.

The rates depend on the gains only through g_ij / g_ii and g_ii / noise, so these ratios are all the features there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnn_model.wireless.rates import cross_gains, direct_gains

NODE_FEATURES = 3
EDGE_FEATURES = 2
SMALLEST_RATIO = 1e-12
SIGNAL_DB = (73.0, 12.0)
TOTAL_DB = (-4.0, 14.0)
EDGE_DB = (-30.0, 20.0)
"""Mean and standard deviation of the features at 50 links in the setting of the paper, rounded."""


@dataclass(frozen=True)
class LinkGraph:
    """A batch of layouts as graphs with the same number of neighbours at every link.

    ``nodes`` [layouts, links, 3]: signal over noise, (scaled) logarithm of the link's weight, and the interference of
    all others at full power over the noise.  ``neighbours`` [layouts, links, k]: which links j a link i listens to.
    ``edges`` [layouts, links, k, 2]: what i suffers from j (g_ij / g_ii), and what i causes to j (g_ji / g_jj).
    """

    nodes: Tensor
    neighbours: Tensor
    edges: Tensor


def link_graph(gains: Tensor, neighbours: int, weights: Tensor | None = None) -> LinkGraph:
    """The graph over the ``neighbours`` strongest couplings of every link.

    ``gains`` [layouts, links, links] relative to the noise; ``weights`` [layouts, links].  A coupling is as strong as
    the stronger of its two directions, so a link also hears of those to whom it does harm.
    """
    direct = direct_gains(gains).clamp(min=SMALLEST_RATIO)
    cross = cross_gains(gains)
    suffered = cross / direct[..., :, None]
    caused = suffered.transpose(-1, -2)
    count = min(neighbours, gains.shape[-1] - 1)
    coupling = torch.maximum(suffered, caused)
    coupling.diagonal(0, -2, -1).fill_(-1.0)
    index = coupling.topk(count, dim=-1, sorted=False).indices
    edges = torch.stack((suffered.gather(-1, index), caused.gather(-1, index)), dim=-1)
    log_weights = torch.zeros_like(direct) if weights is None else weights.clamp(min=1e-3).log()
    nodes = torch.stack((_scaled(direct, *SIGNAL_DB), log_weights, _scaled(cross.sum(-1) / direct, *TOTAL_DB)), dim=-1)
    return LinkGraph(nodes, index, _scaled(edges, *EDGE_DB))


def _scaled(ratio: Tensor, centre_db: float, scale_db: float) -> Tensor:
    return (10.0 * ratio.clamp(min=SMALLEST_RATIO).log10() - centre_db) / scale_db
