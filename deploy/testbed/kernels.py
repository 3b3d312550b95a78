"""Kernels that the optimizer of a run needs, compiled before the run needs the processor for its switches."""

from __future__ import annotations

from deploy.testbed.progress import Progress


def compile_kernels(progress: Progress, predictor: str = "gnn") -> None:
    """Half a minute for a new checkout, seconds from the user's cache after that, where the optimizer finds them."""
    from gnn_model.predictor_choice import open_predictor
    from optimizer.exact.warm_up import warm_up

    with progress.step("kernels: compiled where a new checkout has none, else loaded"):
        open_predictor(predictor)
        warm_up()
