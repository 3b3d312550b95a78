"""The kernels are loaded once, so that no test spends its search time on compiling them."""

from __future__ import annotations

import pytest

from optimizer.exact.warm_up import warm_up


@pytest.fixture(scope="session", autouse=True)
def kernels() -> None:
    """Load (or, the first time, compile) the kernels of the exact search."""
    warm_up(single_path=True)
    warm_up(single_path=True, delay_limits=True)
