"""Many layouts at once: powers by a trained model, in blocks that fit the cache."""

from __future__ import annotations

import torch
from torch import Tensor

from gnn_model.wireless.wcgcn import PowerModel
from gnn_model.wireless.wmmse import Interference, best_start

BLOCK_LINKS = 400
"""Links of one block; the messages of more do not fit the cache of a processor core."""


@torch.inference_mode()
def solve(model: PowerModel, gains: Tensor, weights: Tensor | None = None, refine: bool = True) -> Tensor:
    """Powers [layouts, links], the best output of each layout; WCGCN alone unless ``refine``.

    ``gains`` [layouts, links, links] over the noise in 32 bits, ``weights`` [layouts, links].  On a GPU everything is
    one block.
    """
    layouts, links = gains.shape[:2]
    block = layouts if gains.is_cuda else max(1, BLOCK_LINKS // links)
    found = []
    for first in range(0, layouts, block):
        rows = slice(first, first + block)
        part, part_weights = gains[rows], None if weights is None else weights[rows]
        amplitudes = model.proposals(part, part_weights)
        if not refine and model.settings.outputs == 1:
            found.append(amplitudes[:, 0, :] ** 2)
            continue
        channels = Interference.of(part, part_weights)
        if refine:
            amplitudes = model.refined(channels, amplitudes)
        found.append(best_start(channels, amplitudes**2))
    return torch.cat(found)
