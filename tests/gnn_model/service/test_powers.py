"""Powers over the wire are those of the model in-process, and wrong layouts are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from gnn_model.service.limits import ServiceLimits
from gnn_model.service.powers_wire import layout_message, read_layouts, read_method
from gnn_model.service.remote_powers import recommend_remotely
from gnn_model.service.v1 import predictor_pb2 as pb
from gnn_model.service.v1 import predictor_pb2_grpc as pb_grpc
from gnn_model.wireless.layout import Layout, layout_from_json, layout_to_json
from gnn_model.wireless.recommend import Method, recommend
from tests.gnn_model.service.serving import TIMEOUT_S, RunningServer
from topology_sync.errors import InputError

Serve = Callable[..., RunningServer]


def layout(links: int = 8, known: float = 1.0, quality: bool = False, seed: int = 1) -> Layout:
    """Links at random positions, with all, some or none of their gains measured."""
    rng = np.random.default_rng(seed)
    transmitters = rng.uniform(0, 400, (links, 2))
    receivers = transmitters + rng.uniform(-40, 40, (links, 2))
    entries = [
        {
            "id": f"link {index}",
            "transmitter": transmitters[index].tolist(),
            "receiver": receivers[index].tolist(),
            "weight": float(rng.uniform(0.5, 2)),
            "min_rate_bit_s_hz": 0.2 if quality and index == 0 else 0.0,
        }
        for index in range(links)
    ]
    gains = [
        [
            float(rng.normal(-70 if row == column else -105, 6)) if rng.random() < known else None
            for column in range(links)
        ]
        for row in range(links)
    ]
    return layout_from_json({"format": "routewright-layout/1", "name": "yard", "links": entries, "gains_db": gains})


LAYOUTS = (layout(), layout(5, 0.6), layout(6, 0.0), layout(7, quality=True), layout(1))


def test_any_layout_round_trips_but_for_its_decibels() -> None:
    messages = [pb.Layout.FromString(layout_message(each).SerializeToString()) for each in LAYOUTS]
    for sent, read in zip(LAYOUTS, read_layouts(messages, ServiceLimits()), strict=True):
        assert read.name == sent.name
        assert read.links == sent.links
        for name in ("gains", "measured", "weights", "minimum_rates"):
            assert np.array_equal(getattr(read, name), getattr(sent, name)), name


@pytest.mark.parametrize("method", list(Method))
def test_recommended_powers_are_those_of_the_embedded_model(serve: Serve, method: Method) -> None:
    found = recommend_remotely(LAYOUTS, [serve().address], method)
    for asked, answer in zip(LAYOUTS, found, strict=True):
        alone = recommend(asked, method)
        assert answer.method is method
        for name in ("powers", "rates", "violation"):
            assert getattr(answer, name) == pytest.approx(getattr(alone, name), rel=1e-5, abs=1e-9), name
        assert answer.possible == alone.possible


def test_wrong_layouts_are_refused_with_place_and_remedy(serve: Serve) -> None:
    good = layout_message(LAYOUTS[0])

    def changed(**fields: object) -> pb.Layout:
        message = pb.Layout()
        message.CopyFrom(good)
        for name, value in fields.items():
            message.ClearField(name)
            getattr(message, name).extend(value)
        return message

    cases = {
        "layouts: has 0 entries": [],
        "layouts[1].links: has 0 entries": [good, pb.Layout()],
        "layouts[0].links: names a link twice": [changed(links=["a"] * 8)],
        "layouts[0].links[0]: is ''": [changed(links=[""] + ["a"] * 7)],
        "layouts[0].gains: has 63 entries; send 64": [changed(gains=[1.0] * 63)],
        "layouts[0].gains[2]: is nan": [changed(gains=[1.0, 1.0, float("nan")] + [1.0] * 61)],
        "layouts[0].gains[0]: is -1": [changed(gains=[-1.0] + [1.0] * 63)],
        "layouts[0].gains[1]: is inf": [changed(gains=[1.0, float("inf")] + [1.0] * 62)],
        "layouts[0].measured: has 3 entries": [changed(measured=[True] * 3)],
        "layouts[0].weights: has 1 entries; send 8": [changed(weights=[1.0])],
        "layouts[0].minimum_rates[7]: is 1000": [changed(minimum_rates=[0.0] * 7 + [1000.0])],
    }
    for expected, messages in cases.items():
        with pytest.raises(InputError) as caught:
            read_layouts(messages, ServiceLimits())
        assert str(caught.value).startswith(expected)
    with pytest.raises(InputError, match=r"layouts\[0\].links: has 8 entries; send 1 to 5"):
        read_layouts([good], ServiceLimits(layout_links=5))
    with pytest.raises(InputError, match="method: is 'magic'; send one of hybrid, wcgcn, wmmse"):
        read_method("magic")
    with grpc.insecure_channel(serve().address) as channel, pytest.raises(grpc.RpcError) as refused:
        pb_grpc.WirelessStub(channel).RecommendPowers(
            pb.RecommendPowersRequest(layouts=[good], method="magic"), timeout=TIMEOUT_S
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_command_asks_the_server(serve: Serve, tmp_path: Path) -> None:
    import json

    import typer
    from typer.testing import CliRunner

    from gnn_model.wireless.commands import register

    file = tmp_path / "layout.json"
    file.write_text(json.dumps(layout_to_json(LAYOUTS[0])))
    app = typer.Typer()
    register(app)
    command = ["wireless", "recommend", str(file), "--json"]
    embedded = CliRunner().invoke(app, command)
    remote = CliRunner().invoke(app, [*command, "--address", serve().address])
    assert remote.exit_code == embedded.exit_code == 0, remote.output
    powers = [[link["power_dbm"] for link in json.loads(done.stdout)["links"]] for done in (embedded, remote)]
    assert powers[0] == pytest.approx(powers[1], rel=1e-5)
    refused = CliRunner().invoke(app, [*command, "--address", serve().address, "--model", str(file)])
    assert isinstance(refused.exception, InputError)
