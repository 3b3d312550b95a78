"""Where a training process runs: its device, and its place among others started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch

TIMEOUT = timedelta(minutes=10)


def device() -> torch.device:
    """This process's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


@contextmanager
def taking_part() -> Iterator[int]:
    """Join the processes of torchrun, if there are any; yields this one's rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield 0
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield torch.distributed.get_rank()
    finally:
        torch.distributed.destroy_process_group()
