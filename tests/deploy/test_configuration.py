"""The operator's configuration: the contract's example, refusals with the path of the key, the settings made of it."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.settings import ControllerSettings, StaticHost, TrafficClass
from deploy.configuration import configuration_from_data, json_schema, read_configuration
from optimizer.settings import ClassGoal, MaintenanceSettings, PredictorSettings, SafetySettings
from tests.topology_sync.test_scenario_json import example as scenario_example
from topology_sync.addresses import split_address, split_ovsdb
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import ConfigurationError
from topology_sync.scenario import SlaGoal
from topology_sync.topology import Scheduler

EXAMPLE = Path(__file__).parents[2] / "deploy/configs/example.yaml"
CONTRACT = """
version: 1
mode: advise                       # advise: propose and wait for approval;  auto: closed loop
classes:
  - {name: voice, dscp: [46], priority: 1,
     sla: {delay_ms: 30, percentile: 99, jitter_ms: 5, loss_percent: 0.1}}
  - {name: default, priority: 3, sla: {loss_percent: 1}}
objective: {after_sla: max-utilisation}      # what is minimised once every SLA holds
safety: {hold_s: 5, violations_to_act: 3, min_interval_s: 30, max_changes: 20, verify_s: 10, rollback: true}
predictor: {kind: analytic, address: null}        # null = embedded
maintenance: {links: [], nodes: []}
southbound: {listen: "127.0.0.1:6653", tls: null}
api: {listen: "127.0.0.1:8080", token_file: null}
"""


def contract() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(CONTRACT)
    return data


def test_the_contract_example_becomes_the_settings_of_both_processes(tmp_path: Path) -> None:
    configuration = configuration_from_data(contract())
    controller = configuration.controller_settings(tmp_path)
    optimizer = configuration.optimizer_settings(tmp_path)
    assert controller.classes == (TrafficClass("voice", (46,)), TrafficClass("default"))
    assert controller.probe_classes == ("voice",)
    assert (controller.openflow_host, controller.openflow_port) == ("127.0.0.1", 6653)
    assert optimizer.controller == f"unix:{controller.api_socket}"
    assert optimizer.classes == (
        ClassGoal("voice", 1, SlaGoal("voice", 0.03, 99, 0.005, 0.001)),
        ClassGoal("default", 3, SlaGoal("default", None, 99, None, 0.01)),
    )
    assert optimizer.safety == SafetySettings(5, 3, 30, 20, 10, True)
    assert (optimizer.api_host, optimizer.api_port, optimizer.api_token) == ("127.0.0.1", 8080, None)
    assert controller.state_directory != optimizer.state_directory


def test_the_controller_reads_back_the_settings_that_are_handed_to_it(tmp_path: Path) -> None:
    settings = read_configuration(EXAMPLE).controller_settings(tmp_path)
    (tmp_path / "settings.json").write_text(settings.to_json())
    assert ControllerSettings.read(tmp_path / "settings.json") == settings


def test_the_example_shows_the_defaults() -> None:
    shown = read_configuration(EXAMPLE)
    least = configuration_from_data({"version": 1})
    for key in ("mode", "objective", "safety", "predictor", "maintenance", "southbound", "api", "telemetry"):
        assert getattr(shown, key) == getattr(least, key), key
    network = {"default_capacity_mbps", "default_queue_packets", "transmission_delay"}
    assert shown.network.model_dump(include=network) == least.network.model_dump(include=network)
    assert shown.network.switches == {"edge-1": 1, "edge-2": 2, "core": 3}


def test_every_key_of_the_format_stands_in_the_example() -> None:
    text = EXAMPLE.read_text()
    for section in [json_schema(), *json_schema()["$defs"].values()]:
        for key in section["properties"]:
            assert f"{key}:" in text, key


def test_what_is_printed_as_json_is_the_same_configuration() -> None:
    data = contract()
    data["maintenance"] = {"links": ["a:b", ["c:1", "d"]], "nodes": ["e"]}
    configuration = configuration_from_data(data)
    assert configuration_from_data(json.loads(configuration.model_dump_json())) == configuration
    assert configuration.optimizer_settings(Path("/x")).maintenance == MaintenanceSettings(
        (("a", "b"), ("c:1", "d")), ("e",)
    )


def test_how_far_ahead_plans_look_reaches_the_optimizer(tmp_path: Path) -> None:
    file = tmp_path / "routewright.yaml"
    file.write_text("version: 1\nforecast: {horizon_s: 0, margin: 2}\n")
    settings = read_configuration(file).optimizer_settings(tmp_path).forecast
    assert (settings.horizon_s, settings.margin, settings.enabled) == (0, 2, False)


def test_the_network_section_reaches_the_controller(tmp_path: Path) -> None:
    (tmp_path / "inventory.json").write_text(json.dumps(scenario_example()))
    data = contract()
    data["network"] = {
        "inventory": "inventory.json",
        "switches": {"a": 10, "b": "0x10", "c": "00000000000000ff", "d": "00:00:00:00:00:00:01:00"},
        "default_capacity_mbps": 2.5,
        "default_queue_packets": 8,
        "hosts": [{"prefix": "10.1.0.0/16", "mac": "02:00:00:00:00:0A", "node": "a", "port": 3}],
        "transmission_delay": False,
    }
    data["telemetry"] = {"poll_s": 0.5, "window_s": 4, "probes_per_s": 50}
    data["southbound"] = {"audit_period_s": 90}
    path = tmp_path / "demo.yaml"
    path.write_text(json.dumps(data))
    configuration = read_configuration(path)
    settings = configuration.controller_settings(tmp_path)
    assert settings.node_names == {10: "a", 16: "b", 255: "c", 256: "d"}
    assert len(settings.links) == 9
    assert (settings.links[8].delay_s, settings.links[8].queue_packets) == (0.001, 8)
    assert (settings.default_capacity_bps, settings.default_queue_packets) == (2.5e6, 8)
    assert settings.hosts == (StaticHost("10.1.0.0/16", "02:00:00:00:00:0a", "a", 3),)
    assert (settings.poll_period_s, settings.window_s, settings.probes_per_s) == (0.5, 4, 50)
    assert settings.audit_period_s == 90
    assert configuration.optimizer_settings(tmp_path).transmission_delay is False
    (tmp_path / "inventory.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"demo\.yaml: network\.inventory: .*inventory\.json: line 1 column 2"):
        read_configuration(path)


def test_queues_reach_both_processes_in_their_order(tmp_path: Path) -> None:
    """Without them everything is as it was: one queue for all."""
    plain = configuration_from_data(contract())
    assert plain.controller_settings(tmp_path).queues is plain.optimizer_settings(tmp_path).queues is None
    data = contract() | {"queues": {"order": ["default", "voice"], "weights": {"voice": 3, "default": 1.5}}}
    asked = ClassQueues("wfq", ("default", "voice"), (1.5, 3), True)
    configuration = configuration_from_data(data)
    assert configuration.controller_settings(tmp_path).queues == asked
    assert configuration.controller_settings(tmp_path).ovsdb is None
    assert configuration.optimizer_settings(tmp_path).queues == asked
    assert asked.scheduler() == Scheduler("wfq", (1.5, 3), (("default", 0), ("voice", 1)))
    (tmp_path / "settings.json").write_text(configuration.controller_settings(tmp_path).to_json())
    assert ControllerSettings.read(tmp_path / "settings.json") == configuration.controller_settings(tmp_path)
    data["queues"] = {"order": ["voice", "default"], "scheduler": "strict", "ovsdb": "unix:/run/openvswitch/db.sock"}
    strict = configuration_from_data(data).controller_settings(tmp_path)
    assert strict.queues == ClassQueues("strict", ("voice", "default"), (), False)
    assert strict.ovsdb == "unix:/run/openvswitch/db.sock"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("unix:/run/db.sock", ("unix", "/run/db.sock", 0)),
        ("tcp:6640", ("tcp", "", 6640)),
        ("tcp:192.0.2.7:6640", ("tcp", "192.0.2.7", 6640)),
        ("tcp:[::1]:6640", ("tcp", "::1", 6640)),
    ],
)
def test_where_queues_are_set_up(text: str, parts: tuple[str, str, int]) -> None:
    assert split_ovsdb(text, "x") == parts


@pytest.mark.parametrize("text", ["", "unix:", "unix:db", "tcp:", "tcp:0", "ssl:6640", "tcp:a:", "6640", "unix:/a\nb"])
def test_places_without_a_database_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^x: "):
        split_ovsdb(text, "x")


def at(data: Any, *steps: Any) -> Any:
    for step in steps:
        data = data.setdefault(step, {}) if isinstance(data, dict) else data[step]
    return data


def queues(**changes: Any) -> dict[str, Any]:
    return {"order": ["voice", "default"], "weights": {"voice": 3, "default": 1}, **changes}


VOICE = ("classes", 0)
BAD: list[tuple[tuple[Any, ...], Any, str]] = [
    (("version",), 2, "version: is 2; it should be 1"),
    (("mode",), "manual", "mode: is 'manual'; it should be 'advise' or 'auto'"),
    (("mod",), "auto", "mod: unknown key; did you mean mode?"),
    ((*VOICE, "sla", "delay"), 3, "classes[0].sla.delay: unknown key; did you mean delay_ms?"),
    ((*VOICE, "sla", "delay_ms"), 0, "classes[0].sla.delay_ms: is 0; it should be greater than 0"),
    ((*VOICE, "sla", "delay_ms"), "30", "classes[0].sla.delay_ms: is '30'; it should be a valid number"),
    ((*VOICE, "sla", "delay_ms"), True, "classes[0].sla.delay_ms: is true; it should be a valid number"),
    ((*VOICE, "sla", "delay_ms"), float("nan"), "classes[0].sla.delay_ms: is nan; it should be"),
    ((*VOICE, "sla", "percentile"), 50, "classes[0].sla.percentile: is 50; it should be greater than 50"),
    ((*VOICE, "sla", "percentile"), 100, "classes[0].sla.percentile: is 100; it should be less than 100"),
    ((*VOICE, "sla", "loss_percent"), 101, "classes[0].sla.loss_percent: is 101"),
    ((*VOICE, "dscp"), [64], "classes[0].dscp[0]: is 64; it should be less than or equal to 63"),
    ((*VOICE, "dscp"), [46, 46], "classes[0].dscp: 46 names class 'voice' too; use it once"),
    ((*VOICE, "dscp"), [], "classes[1].dscp: is missing, and class 'voice' takes all the rest already"),
    ((*VOICE, "name"), "default", "classes[1].name: 'default' is there before; give every class its own"),
    ((*VOICE, "name"), "a\nb", "classes[0].name: is 'a\\nb'; give printable characters only"),
    (("classes",), [], "classes: is an empty list"),
    (("classes", 1), {}, "classes[1].name: is missing; add it"),
    (("safety", "hold_s"), -1, "safety.hold_s: is -1; it should be greater than or equal to 0"),
    (("safety", "max_changes"), 1.5, "safety.max_changes: is 1.5; it should be a valid integer"),
    (("safety", "rollback"), "yes", "safety.rollback: is 'yes'; it should be a valid boolean"),
    (("predictor", "kind"), "oracle", "predictor.kind: is 'oracle'; it should be 'gnn' or 'analytic'"),
    (("predictor", "address"), "h", "predictor.address: 'h' has no port from 1 to 65535"),
    (("predictor", "address"), 5, 'predictor.address: is 5; give null, "host:port" or a list'),
    (("predictor", "address"), [], 'predictor.address: is an empty list; give null, "host:port" or a list'),
    (("predictor", "address"), ["h:1", 2], 'predictor.address: is a list; give "host:port"'),
    (("predictor", "address"), ["h:1", "h"], "predictor.address[1]: 'h' has no port from 1 to 65535"),
    (("predictor", "address"), ["h:1", "i:1", "h:1"], "predictor.address[2]: 'h:1' is there before"),
    (("classes",), [], "classes: is an empty list; it should have at least 1 item"),
    (("predictor", "start"), True, "predictor.start: is set, and predictor.address is null; give the address"),
    (("predictor", "tls"), {"ca": "a"}, "predictor.tls.certificate: is missing"),
    (("predictor", "port"), 5, "predictor.port: unknown key"),
    (("southbound", "tls"), {"key": "x"}, "southbound.tls: is an object; TLS is not part of this version, give null"),
    (("southbound", "listen"), "127.0.0.1", "southbound.listen: '127.0.0.1' has no port from 1 to 65535"),
    (("southbound", "listen"), "127.0.0.1:8080", "api.listen: is the address of southbound.listen too"),
    (("southbound", "api_socket"), "/x" * 60, "southbound.api_socket: the path has more than 107 bytes"),
    (("southbound", "audit_period_s"), 0, "southbound.audit_period_s: is 0; it should be greater than or equal to 1"),
    (("api", "listen"), "0.0.0.0:8080", "api.token_file: is missing, and '0.0.0.0' can be reached by others"),
    (("api", "token_file"), "/nonexistent", "api.token_file: /nonexistent cannot be read (No such file or directory)"),
    (("maintenance", "links"), ["ab"], "maintenance.links[0]: is 'ab'; give \"A:B\""),
    (("queues",), {}, "queues.order: is missing"),
    (("queues",), {"order": ["voice"], "scheduler": "strict"}, "queues.order: class 'default' is missing"),
    (
        ("queues",),
        {"order": ["voice", "x"]},
        "queues.order[1]: there is no class 'x'; name each of voice, def",
    ),
    (("queues",), {"order": ["voice", "voice", "default"]}, "queues.order[1]: 'voice' is there before"),
    (("queues",), {"order": ["voice", "default"]}, "queues.weights: class 'voice' has none; give a number above 0"),
    (
        ("queues",),
        queues(weights={"voice": 0, "default": 1}),
        "queues.weights.voice: is 0; it should be greater",
    ),
    (("queues",), queues(weights={"voice": 1, "default": 1, "x": 1}), "queues.weights.x: there is no such class"),
    (("queues",), queues(scheduler="strict"), "queues.weights: are set, and strict has none"),
    (("queues",), queues(scheduler="strict", weights={}, change_weights=True), "queues.change_weights: is true, and"),
    (("queues",), queues(scheduler="fifo"), "queues.scheduler: is 'fifo'; it should be 'wfq' or 'strict'"),
    (("queues",), queues(ovsdb="db.sock"), "queues.ovsdb: is 'db.sock'; give \"unix:"),
    (("queues",), queues(ovsdb="tcp:h"), "queues.ovsdb: is 'tcp:h'; give \"unix:"),
    (("queues",), queues(ovsdb="tcp:a:h"), "queues.ovsdb: 'a:h' has no port"),
    (("network", "switches"), {"a": 0}, "network.switches.a: is 0; it should be greater than or equal to 1"),
    (("network", "switches"), {"a": "12"}, "network.switches.a: is '12'; give an integer, 0x... or 16 hex"),
    (("network", "switches"), {"a": 1, "b": 1}, "network.switches.b: has the datapath id of 'a'"),
    (("network", "switches"), {"a\x1b": 1}, "network.switches.'a\\x1b': is no fit name"),
    (("network", "inventory"), "none.json", "network.inventory: none.json: there is no such file"),
    (("network", "hosts"), [{"prefix": "10.0.0.1/8"}], "network.hosts[0].mac: is missing; add it (and 2 more)"),
    (("network", "default_capacity_mbps"), 0, "network.default_capacity_mbps: is 0"),
    (("telemetry", "window_s"), 0, "telemetry.window_s: is 0"),
    (("state_directory",), "", "state_directory: is ''"),
]


@pytest.mark.parametrize(("place", "value", "expected"), BAD)
def test_bad_keys_are_refused_with_their_path(place: tuple[Any, ...], value: Any, expected: str) -> None:
    data = copy.deepcopy(contract())
    at(data, *place[:-1])[place[-1]] = value
    with pytest.raises(ConfigurationError) as caught:
        configuration_from_data(data)
    assert str(caught.value).startswith(expected)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prefix": "10.0.0.1/8"}, "prefix: '10.0.0.1/8' is no IPv4 prefix"),
        ({"prefix": "::/0"}, "prefix: '::/0' is no IPv4 prefix"),
        ({"mac": "01:00:00:00:00:01"}, "mac: 01:00:00:00:00:01 is a group address"),
        ({"mac": "02-00-00-00-00-01"}, "mac: is '02-00-00-00-00-01'"),
        ({"node": "x"}, "node: there is no switch 'x'; name one of network.switches or s<datapath id>"),
        ({"port": 0}, "port: is 0"),
    ],
)
def test_bad_hosts_are_refused(change: dict[str, Any], expected: str) -> None:
    host = {"prefix": "10.0.0.0/8", "mac": "02:00:00:00:00:01", "node": "s1", "port": 1}
    configuration_from_data({"version": 1, "network": {"hosts": [host]}})
    with pytest.raises(ConfigurationError) as caught:
        configuration_from_data({"version": 1, "network": {"hosts": [{**host, **change}]}})
    assert str(caught.value).startswith(f"network.hosts[0].{expected}")
    with pytest.raises(ConfigurationError, match=r"network\.hosts\[1\]\.prefix: 10\.0\.0\.0/8 is there before"):
        configuration_from_data({"version": 1, "network": {"hosts": [host, host]}})


def test_a_token_file_is_read_only_where_nobody_else_can(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    data = {"version": 1, "api": {"listen": "0.0.0.0:8080", "token_file": "token"}}
    configuration = configuration_from_data(data, tmp_path)
    assert configuration.optimizer_settings(tmp_path).api_token == "0123456789abcdef"
    token.chmod(0o644)
    with pytest.raises(ConfigurationError, match="token is open to others; chmod 600"):
        configuration_from_data(data, tmp_path)
    token.chmod(0o600)
    token.write_text("short")
    with pytest.raises(ConfigurationError, match="token holds no token"):
        configuration_from_data(data, tmp_path)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:65535", ("::1", 65535)), ("localhost:80", ("localhost", 80))],
)
def test_listen_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text, "x") == address


@pytest.mark.parametrize("text", ["", ":", "a:0", "a:65536", "a:1a", "::1:80", "[a]:1", "1.2.3:80", "a b:1", "a:１"])
def test_bad_listen_addresses(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^x: "):
        split_address(text, "x")


def test_state_goes_where_the_file_says(tmp_path: Path) -> None:
    configuration = configuration_from_data({"version": 1, "state_directory": "state"}, tmp_path)
    assert configuration.state_path == tmp_path / "state"
    assert configuration.controller_settings().state_directory == str(tmp_path / "state" / "controller")
    assert configuration.controller_settings().api_socket == os.fspath(tmp_path / "state" / "controller.sock")
    assert configuration.optimizer_settings().controller == f"unix:{tmp_path / 'state' / 'controller.sock'}"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"address": "gpu:1", "start": True}, "predictor.start: starts one server, on loopback"),
        ({"address": ["127.0.0.1:1", "127.0.0.1:2"], "start": True}, "predictor.start: starts one server"),
        ({"address": "127.0.0.1:8080", "start": True}, "predictor.address: is the address of api.listen too"),
        ({"address": "gpu:1", "weights": "w"}, "predictor.weights: is set, and the model is elsewhere"),
        ({"weights": "none.safetensors"}, "predictor.weights: none.safetensors is no file"),
        ({"kind": "analytic", "weights": "w"}, "predictor.weights: is set, and kind analytic has none"),
        ({"tls": {"ca": "a", "certificate": "b", "key": "c"}}, "predictor.tls: is set, and predictor.address is null"),
        (
            {"address": "gpu:1", "tls": {"ca": "a", "certificate": "b", "key": "c"}},
            "predictor.tls.ca: a cannot be read (No such file or directory); give a PEM file",
        ),
    ],
)
def test_predictor_settings_that_do_nothing_or_cannot_work_are_refused(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configuration_from_data({"version": 1, "predictor": section})
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_predictor_settings_reach_optimizer_and_server(tmp_path: Path) -> None:
    """By default the learned model inside the optimizer; else where the file says, with the file's own paths."""
    plain = configuration_from_data({"version": 1}, tmp_path)
    assert plain.optimizer_settings(tmp_path).predictor == PredictorSettings("gnn", (), None, None)
    with pytest.raises(ConfigurationError, match="predictor\\.address: is null"):
        plain.predictor_server_settings()
    (tmp_path / "own.safetensors").write_text("")
    embedded = configuration_from_data({"version": 1, "predictor": {"weights": "own.safetensors"}}, tmp_path)
    assert embedded.predictor_settings().weights == tmp_path / "own.safetensors"
    data = {"version": 1, "predictor": {"kind": "analytic", "address": ["a:1", "b:2"]}}
    several = configuration_from_data(data, tmp_path)
    assert several.predictor_settings() == PredictorSettings("analytic", ("a:1", "b:2"))
    assert several.model_dump(mode="json")["predictor"]["address"] == ["a:1", "b:2"]
    own = {"address": "[::1]:50051", "start": True, "weights": "own.safetensors"}
    server = configuration_from_data({"version": 1, "predictor": own}, tmp_path)
    settings = server.predictor_server_settings()
    assert (settings.host, settings.port, settings.kind) == ("::1", 50051, "gnn")
    assert settings.weights == tmp_path / "own.safetensors"
    assert server.predictor_settings() == PredictorSettings("gnn", ("[::1]:50051",))
