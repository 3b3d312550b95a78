"""Powers for layouts of wireless links, recommended by a predictor server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from gnn_model.service.powers_wire import layout_message, read_powers
from gnn_model.service.replicas import Replicas
from gnn_model.service.tls import TlsFiles
from gnn_model.service.v1 import predictor_pb2 as pb
from gnn_model.service.v1 import predictor_pb2_grpc as pb_grpc
from gnn_model.wireless.layout import Layout
from gnn_model.wireless.recommend import Method, Recommendation
from topology_sync.errors import UnavailableError

TIMEOUT_S = 10.0


def recommend_remotely(
    layouts: Sequence[Layout],
    addresses: Sequence[str],
    method: Method = Method.HYBRID,
    tls: TlsFiles | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[Recommendation]:
    """One recommendation per layout, by the models of the servers at ``addresses``.

    Raises UnavailableError, or InputError for layouts that a server refuses.
    """
    request = pb.RecommendPowersRequest(layouts=[layout_message(layout) for layout in layouts], method=method.value)
    replicas = Replicas(addresses, tls)
    try:
        answer: pb.RecommendPowersResponse = replicas.call(_recommend_powers, request, timeout_s)
    finally:
        replicas.close()
    if len(answer.powers) != len(layouts):
        raise UnavailableError(f"the predictor sent {len(answer.powers)} answers for {len(layouts)} layouts")
    return [read_powers(message, layout) for message, layout in zip(answer.powers, layouts, strict=True)]


def _recommend_powers(channel: grpc.Channel) -> Any:
    return pb_grpc.WirelessStub(channel).RecommendPowers  # type: ignore[no-untyped-call]
