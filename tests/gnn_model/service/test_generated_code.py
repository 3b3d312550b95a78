"""The committed code is what the proto and the pinned generator give."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
GENERATED = ("predictor_pb2.py", "predictor_pb2.pyi", "predictor_pb2_grpc.py")


def test_generating_again_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    subprocess.run([REPOSITORY / "scripts/generate-proto", tmp_path], check=True, timeout=120)
    for name in GENERATED:
        fresh = tmp_path / "gnn_model/service/v1" / name
        assert fresh.read_text() == (REPOSITORY / "gnn_model/service/v1" / name).read_text(), name


def test_the_pinned_generator_is_the_one_that_was_used() -> None:
    pins = (REPOSITORY / "requirements.txt").read_text().splitlines()
    version = next(line.split("==")[1] for line in pins if line.startswith("grpcio-tools=="))
    assert (
        f"GRPC_GENERATED_VERSION = '{version}'"
        in (REPOSITORY / "gnn_model/service/v1/predictor_pb2_grpc.py").read_text()
    )
