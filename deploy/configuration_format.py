"""The format of the operator's configuration, key by key, and how it becomes the settings of each room.

``deploy.configuration`` reads a file of this format and checks it as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from controller.settings import ControllerSettings, StaticHost, TrafficClass
from deploy.configuration_checks import (
    Addresses,
    DatapathId,
    LinkEnds,
    check_printable,
    read_secret,
    refuse_tls,
    resolve,
)
from gnn_model.service.process import ServerSettings
from gnn_model.service.tls import TlsFiles
from optimizer.moving_traffic.forecast import ForecastSettings
from optimizer.settings import (
    ClassGoal,
    MaintenanceSettings,
    OptimizerSettings,
    PredictorSettings,
    SafetySettings,
)
from topology_sync.addresses import split_address
from topology_sync.class_queues import MAX_CLASS_QUEUES, ClassQueues
from topology_sync.errors import ConfigurationError
from topology_sync.scenario import SlaGoal
from topology_sync.topology import Link

Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_printable)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(check_printable)]
Dscp = Annotated[int, Field(ge=0, le=63)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
_MAX_SOCKET_PATH = 107  # sun_path holds 108 bytes with its final zero, unix(7)


class Section(BaseModel):
    """What all sections share: no unknown keys, no conversions, no NaN, and they do not change."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class SlaSection(Section):
    """What a class is promised; a key that is missing or null promises nothing."""

    delay_ms: float | None = Field(default=None, gt=0, le=1e6)
    """Bound of the one-way delay at ``percentile``, in milliseconds."""
    percentile: float | None = Field(default=99.0, gt=50, lt=100)
    """The percentile that ``delay_ms`` bounds; null bounds the mean."""
    jitter_ms: float | None = Field(default=None, gt=0, le=1e6)
    """Bound of the mean absolute difference of consecutive delays, in milliseconds."""
    loss_percent: float | None = Field(default=None, ge=0, le=100)
    """Bound of lost over sent packets, in percent."""


class ClassSection(Section):
    """A traffic class."""

    name: Name
    """Name, unique."""
    dscp: list[Dscp] = Field(default_factory=list, max_length=64)
    """DSCP values that name the class; the one class without any takes all other traffic."""
    priority: int = Field(default=3, ge=1, le=100)
    """1 is the most important."""
    sla: SlaSection = SlaSection()
    """What the class is promised."""


class ObjectiveSection(Section):
    """What is optimised."""

    after_sla: Literal["max-utilisation"] = "max-utilisation"
    """What is minimised once every SLA holds."""


class SafetySection(Section):
    """When the loop may act, how far it may go and what makes it go back."""

    hold_s: float = Field(default=5.0, ge=0, le=1e6)
    """A violation must last this long."""
    violations_to_act: int = Field(default=3, ge=1, le=10**6)
    """... and be seen this often before anything is changed."""
    min_interval_s: float = Field(default=30.0, ge=0, le=1e6)
    """Least time between two changes."""
    max_changes: int = Field(default=20, ge=1, le=10**6)
    """Most demands that one change may re-route."""
    verify_s: float = Field(default=10.0, ge=0, le=1e6)
    """How long a change is measured before it is kept."""
    rollback: bool = True
    """Go back when the measurement is worse than before."""


class PredictorTlsSection(Section):
    """Mutual TLS with predictor servers: PEM files."""

    ca: FilePath
    """Certificate of the authority that signed the servers' certificates."""
    certificate: FilePath
    """Own certificate (chain)."""
    key: FilePath
    """Key of the own certificate, not readable by everybody."""


class PredictorSection(Section):
    """Which model predicts delay, jitter and loss, and where it runs."""

    kind: Literal["gnn", "analytic"] = "gnn"
    """``gnn`` is the learned model, ``analytic`` the queueing model that it corrects."""
    weights: FilePath | None = None
    """Weights of your own training for ``gnn`` (.safetensors beside its card); null: those shipped."""
    address: Addresses = None
    """null: inside the optimizer; "host:port" of a predictor server, or a list of several that share the work."""
    tls: PredictorTlsSection | None = None
    """Certificates towards the servers; null: without TLS."""
    start: bool = False
    """true: ``routewright run`` starts the server itself, at ``address``, which must be on this machine."""


class ForecastSection(Section):
    """For which rates plans are made where demands are rising."""

    horizon_s: float = Field(default=30.0, ge=0, le=3600)
    """How far ahead a plan looks; 0 plans for the rates as measured."""
    margin: float = Field(default=1.0, ge=0, le=10)
    """Standard deviations added for what a steady rise does not explain."""


class MaintenanceSection(Section):
    """What must carry no transit traffic for now."""

    links: list[LinkEnds] = Field(default_factory=list, max_length=10_000)
    """Links, both directions: "A:B", or [A, B] where a name has a colon."""
    nodes: list[Name] = Field(default_factory=list, max_length=10_000)
    """Nodes by name."""


class SouthboundSection(Section):
    """Towards the switches."""

    listen: Name = "127.0.0.1:6653"
    """Address and port where switches connect with OpenFlow 1.3."""
    tls: Annotated[None, BeforeValidator(refuse_tls)] = None
    """TLS towards the switches is not part of this version: null."""
    api_socket: FilePath | None = None
    """Unix socket on which controller and optimizer meet; null: inside the state directory."""
    audit_period_s: float = Field(default=30.0, ge=1, le=86_400)
    """Within this time the rules of every switch are read back once and differences put right."""


class ApiSection(Section):
    """The operator's API."""

    listen: Name = "127.0.0.1:8080"
    """Address and port of the API; anything but loopback needs a token file."""
    token_file: FilePath | None = None
    """File with the secret that callers present; readable by its owner only."""


class HostSection(Section):
    """A host or gateway that cannot be learned."""

    prefix: Name
    """IPv4 address or prefix behind the port, like 10.1.0.0/16."""
    mac: str = Field(pattern=r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
    """MAC address of the host or gateway."""
    node: Name
    """Switch by name."""
    port: int = Field(ge=1, le=0xFFFFFF00 - 1)
    """OpenFlow port number."""


class NetworkSection(Section):
    """What is known of the network beforehand and cannot be read off the switches."""

    inventory: FilePath | None = None
    """A scenario JSON whose links give capacity, delay and queue by node names."""
    switches: dict[Name, DatapathId] = Field(default_factory=dict, max_length=10_000)
    """Datapath id of each switch by name; others are called s<datapath id>."""
    default_capacity_mbps: float = Field(default=1000.0, gt=0, le=1e9)
    """Capacity of links that the inventory does not name."""
    default_queue_packets: int = Field(default=32, ge=0, le=10**6)
    """Queue of links that the inventory does not name."""
    hosts: list[HostSection] = Field(default_factory=list, max_length=10_000)
    """Hosts and gateways that cannot be learned."""
    transmission_delay: bool = True
    """false: links do not add a packet's own transmission time (emulated links)."""


class TelemetrySection(Section):
    """How the network is measured."""

    poll_s: float = Field(default=1.0, ge=0.1, le=60)
    """Time between two readings of the counters."""
    window_s: float = Field(default=10.0, ge=1, le=3600)
    """Length of the window over which is measured."""
    probes_per_s: float = Field(default=200.0, ge=0, le=10_000)
    """Delay probes per second in all; 0 sends none."""


class QueuesSection(Section):
    """A queue per class at every link, and how links serve them."""

    scheduler: Literal["wfq", "strict"] = "wfq"
    """wfq: each queue its part of a busy link by weight; strict: the first queue in order that holds a packet."""
    order: list[Name] = Field(min_length=1, max_length=MAX_CLASS_QUEUES)
    """Every class once, the one of queue 0 first; with strict that is the one served first."""
    weights: dict[Name, Weight] = Field(default_factory=dict, max_length=MAX_CLASS_QUEUES)
    """With wfq the weight of every class at the start."""
    change_weights: bool | None = None
    """May the optimizer change the weights; null: with wfq it may."""
    ovsdb: FilePath | None = None
    """Where queues are set up: unix:PATH, tcp:HOST:PORT or tcp:PORT at every switch's own address; null: nowhere."""


class Configuration(Section):
    """The operator's configuration of Routewright, version 1."""

    version: Literal[1]
    """Version of this format."""
    mode: Literal["advise", "auto"] = "advise"
    """advise: propose and wait for approval; auto: closed loop."""
    classes: list[ClassSection] = Field(
        default_factory=lambda: [ClassSection(name="default")], min_length=1, max_length=64
    )
    """Traffic classes and what they are promised."""
    objective: ObjectiveSection = ObjectiveSection()
    safety: SafetySection = SafetySection()
    predictor: PredictorSection = PredictorSection()
    forecast: ForecastSection = ForecastSection()
    maintenance: MaintenanceSection = MaintenanceSection()
    queues: QueuesSection | None = None
    """A queue per class at every link; null: one for all."""
    southbound: SouthboundSection = SouthboundSection()
    api: ApiSection = ApiSection()
    network: NetworkSection = NetworkSection()
    telemetry: TelemetrySection = TelemetrySection()
    state_directory: FilePath | None = None
    """Where state is kept; null: /var/lib/routewright, or ~/.local/state/routewright where that cannot be written."""

    _directory: Path = PrivateAttr(default=Path())
    _links: tuple[Link, ...] = PrivateAttr(default=())

    def located(self, directory: Path, links: tuple[Link, ...]) -> Configuration:
        """The same configuration, its relative paths meant from ``directory``, with the links of its inventory."""
        self._directory = directory
        self._links = links
        return self

    def path(self, text: str) -> Path:
        """A path of the file; relative ones start at the configuration's own directory."""
        return resolve(self._directory, text)

    @property
    def state_path(self) -> Path:
        """Directory of all state."""
        return default_state_directory() if self.state_directory is None else self.path(self.state_directory)

    def controller_socket(self, state_directory: Path | None = None) -> str:
        """Unix socket on which controller and optimizer meet.  Raises ConfigurationError when its path is too long."""
        state = self.state_path if state_directory is None else state_directory
        given = self.southbound.api_socket
        socket = str(Path(os.path.abspath(state / "controller.sock" if given is None else self.path(given))))
        if len(os.fsencode(socket)) > _MAX_SOCKET_PATH:
            raise ConfigurationError(
                "southbound.api_socket", f"the path has more than {_MAX_SOCKET_PATH} bytes", "give a shorter one"
            )
        return socket

    def controller_settings(self, state_directory: Path | None = None) -> ControllerSettings:
        """Settings of the controller process; its own state goes to ``controller`` below the state directory."""
        state = self.state_path if state_directory is None else state_directory
        host, port = split_address(self.southbound.listen, "southbound.listen")
        return ControllerSettings(
            state_directory=str(state / "controller"),
            openflow_host=host,
            openflow_port=port,
            api_socket=self.controller_socket(state_directory),
            classes=tuple(TrafficClass(entry.name, tuple(entry.dscp)) for entry in self.classes),
            node_names={dpid: name for name, dpid in self.network.switches.items()},
            links=self._links,
            default_capacity_bps=self.network.default_capacity_mbps * 1e6,
            default_queue_packets=self.network.default_queue_packets,
            hosts=tuple(StaticHost(host.prefix, host.mac.lower(), host.node, host.port) for host in self.network.hosts),
            audit_period_s=self.southbound.audit_period_s,
            poll_period_s=self.telemetry.poll_s,
            window_s=self.telemetry.window_s,
            probes_per_s=self.telemetry.probes_per_s,
            probe_classes=tuple(
                entry.name
                for entry in self.classes
                if entry.sla.delay_ms is not None or entry.sla.jitter_ms is not None
            ),
            queues=self.class_queues(),
            ovsdb=None if self.queues is None else self.queues.ovsdb,
        )

    def optimizer_settings(self, state_directory: Path | None = None) -> OptimizerSettings:
        """Settings of the optimizer process; its own state goes to ``optimizer`` below the state directory.

        Reads the token file.  Raises ConfigurationError where that is missing, empty or open to others.
        """
        state = self.state_path if state_directory is None else state_directory
        host, port = split_address(self.api.listen, "api.listen")
        token_file = self.api.token_file
        return OptimizerSettings(
            controller=f"unix:{self.controller_socket(state_directory)}",
            state_directory=str(state / "optimizer"),
            mode=self.mode,
            classes=tuple(ClassGoal(entry.name, entry.priority, _goal(entry)) for entry in self.classes),
            after_sla=self.objective.after_sla,
            safety=SafetySettings(**self.safety.model_dump()),
            maintenance=MaintenanceSettings(tuple(self.maintenance.links), tuple(self.maintenance.nodes)),
            predictor=self.predictor_settings(),
            forecast=ForecastSettings(**self.forecast.model_dump()),
            transmission_delay=self.network.transmission_delay,
            queues=self.class_queues(),
            api_host=host,
            api_port=port,
            api_token=None if token_file is None else read_secret(self.path(token_file), "api.token_file"),
        )

    def class_queues(self) -> ClassQueues | None:
        """The queues per class, None where there is one for all."""
        chosen = self.queues
        if chosen is None:
            return None
        weighted = chosen.scheduler == "wfq"
        return ClassQueues(
            chosen.scheduler,
            tuple(chosen.order),
            tuple(chosen.weights[name] for name in chosen.order) if weighted else (),
            weighted if chosen.change_weights is None else chosen.change_weights,
        )

    def predictor_settings(self) -> PredictorSettings:
        """Who predicts for the optimizer; weights are the server's business where there is one."""
        chosen = self.predictor
        weights = None if chosen.weights is None or chosen.address else self.path(chosen.weights)
        return PredictorSettings(chosen.kind, chosen.address or (), self._predictor_tls(), weights)

    def predictor_server_settings(self) -> ServerSettings:
        """Settings of a predictor process at ``predictor.address``.  Raises ConfigurationError where there is none."""
        chosen = self.predictor
        if chosen.address is None or len(chosen.address) != 1:
            problem = "is null" if chosen.address is None else "names several servers"
            raise ConfigurationError("predictor.address", problem, 'give the one to start, like "127.0.0.1:50051"')
        host, port = split_address(chosen.address[0], "predictor.address")
        weights = None if chosen.weights is None else self.path(chosen.weights)
        return ServerSettings(host, port, chosen.kind, weights, tls=self._predictor_tls())

    def _predictor_tls(self) -> TlsFiles | None:
        tls = self.predictor.tls
        return None if tls is None else TlsFiles(self.path(tls.ca), self.path(tls.certificate), self.path(tls.key))


def _goal(entry: ClassSection) -> SlaGoal:
    def scaled(value: float | None, unit: float) -> float | None:
        return None if value is None else value / unit

    return SlaGoal(
        traffic_class=entry.name,
        delay_s=scaled(entry.sla.delay_ms, 1000),
        percentile=entry.sla.percentile,
        jitter_s=scaled(entry.sla.jitter_ms, 1000),
        loss_ratio=scaled(entry.sla.loss_percent, 100),
    )


def default_state_directory() -> Path:
    """/var/lib/routewright where this user may write it, else the user's own state directory (XDG)."""
    system = Path("/var/lib/routewright")
    if os.access(system if system.exists() else system.parent, os.W_OK):
        return system
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "routewright"
