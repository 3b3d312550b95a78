"""Options that commands of several rooms share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class LoopPredictor(StrEnum):
    """What ``--predictor`` takes where routings are searched."""

    gnn = "gnn"
    analytic = "analytic"
