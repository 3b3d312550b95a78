"""Reads and checks the operator's configuration as a whole: every error is one line with the path of its key."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from deploy.configuration_checks import read_secret, resolve
from deploy.configuration_format import Configuration, default_state_directory
from deploy.strict_yaml import read_yaml
from topology_sync.addresses import is_loopback, split_address, split_ovsdb
from topology_sync.class_queues import MAX_CLASS_QUEUES
from topology_sync.errors import ConfigurationError, InputError
from topology_sync.scenario_json import read_scenario
from topology_sync.strict_json import printable, printable_path, shown, suggestion
from topology_sync.topology import Link

__all__ = ["Configuration", "configuration_from_data", "default_state_directory", "json_schema", "read_configuration"]


def read_configuration(path: Path) -> Configuration:
    """The configuration in a YAML file, checked as a whole, inventory and token file included.

    Raises ConfigurationError like ``demo.yaml: classes[0].sla.delay_ms: is -3; ...``; YAML errors name the line.
    """
    data = read_yaml(path)
    try:
        return configuration_from_data(data, path.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{printable_path(str(path))}: {error.place}", error.problem, error.remedy) from None


def configuration_from_data(data: object, directory: Path = Path()) -> Configuration:
    """The configuration in plain data; relative paths are meant from ``directory``.  Raises ConfigurationError."""
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"is {shown(data)}"
        raise ConfigurationError("the whole", what, "give keys and values, version: 1 first")
    try:
        configuration = Configuration.model_validate(data)
    except ValidationError as error:
        raise _first_error(error) from None
    _check_classes(configuration)
    _check_queues(configuration)
    _check_listeners(configuration)
    _check_network(configuration)
    configuration.located(directory, _inventory(configuration, directory))
    _check_predictor(configuration)
    if configuration.api.token_file is not None:
        read_secret(configuration.path(configuration.api.token_file), "api.token_file")
    configuration.controller_socket()
    return configuration


def _first_error(error: ValidationError) -> ConfigurationError:
    """The first thing that is wrong; a misspelt key explains a missing one, so unknown keys come first."""
    errors = sorted(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
    first = errors[0]
    location = first["loc"]
    place = _place(location)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return ConfigurationError(place, "unknown key", suggestion(str(location[-1]), known) + more)
    if first["type"] == "missing":
        return ConfigurationError(place, "is missing", f"add it{more}")
    message = str(first["msg"]).removeprefix("Value error, ").partition(" after validation")[0]
    message = re.sub(r"^(Input|List|Dictionary|String) should", "it should", message)
    if location and location[-1] == "[key]":
        return ConfigurationError(_place(location[:-1]), "is no fit name", message + more)
    return ConfigurationError(place, f"is {shown(first['input'])}", message + more)


def _place(location: Iterable[int | str]) -> str:
    place = ""
    for step in location:
        if isinstance(step, int):
            place += f"[{step}]"
        elif place:
            place += f".{printable(step)}"
        else:
            place = printable(step)
    return place or "the whole"


def _known_keys(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Keys of the section that stands at ``location``."""
    section: type[BaseModel] = Configuration
    for step in location:
        if isinstance(step, str) and step in section.model_fields:
            annotation: Any = section.model_fields[step].annotation
            inner = [annotation, *get_args(annotation)]
            section = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), section)
    return tuple(section.model_fields)


def _check_classes(configuration: Configuration) -> None:
    first_of: dict[int, str] = {}
    names: set[str] = set()
    rest: str | None = None
    for index, entry in enumerate(configuration.classes):
        place = f"classes[{index}]"
        if entry.name in names:
            raise ConfigurationError(
                f"{place}.name", f"{shown(entry.name)} is there before", "give every class its own"
            )
        names.add(entry.name)
        for dscp in entry.dscp:
            if dscp in first_of:
                raise ConfigurationError(
                    f"{place}.dscp", f"{dscp} names class {shown(first_of[dscp])} too", "use it once"
                )
            first_of[dscp] = entry.name
        if not entry.dscp:
            if rest is not None:
                problem = f"is missing, and class {shown(rest)} takes all the rest already"
                raise ConfigurationError(f"{place}.dscp", problem, "give the DSCP values of the class")
            rest = entry.name


def _check_queues(configuration: Configuration) -> None:
    """Every class has its queue and, with wfq, its weight; nothing is asked for that could not be."""
    queues = configuration.queues
    if queues is None:
        return
    names = [entry.name for entry in configuration.classes]
    known = f"name each of {', '.join(printable(name) for name in names)} once"
    if len(names) > MAX_CLASS_QUEUES:
        problem = f"there are {len(names)} classes, and labels tell {MAX_CLASS_QUEUES} queues apart"
        raise ConfigurationError("queues.order", problem, "leave queues out or have fewer classes")
    for index, name in enumerate(queues.order):
        if name not in names:
            raise ConfigurationError(f"queues.order[{index}]", f"there is no class {shown(name)}", known)
        if name in queues.order[:index]:
            raise ConfigurationError(f"queues.order[{index}]", f"{shown(name)} is there before", known)
    missing = next((name for name in names if name not in queues.order), None)
    if missing is not None:
        raise ConfigurationError("queues.order", f"class {shown(missing)} is missing", known)
    if queues.scheduler == "strict":
        if queues.weights:
            raise ConfigurationError("queues.weights", "are set, and strict has none", "remove them or give wfq")
        if queues.change_weights:
            raise ConfigurationError("queues.change_weights", "is true, and strict has no weights", "remove it")
    else:
        for name in queues.weights:
            if name not in names:
                raise ConfigurationError(f"queues.weights.{printable(name)}", "there is no such class", known)
        missing = next((name for name in queues.order if name not in queues.weights), None)
        if missing is not None:
            raise ConfigurationError("queues.weights", f"class {shown(missing)} has none", "give a number above 0")
    if queues.ovsdb is not None:
        split_ovsdb(queues.ovsdb, "queues.ovsdb")


def _check_listeners(configuration: Configuration) -> None:
    southbound = split_address(configuration.southbound.listen, "southbound.listen")
    api = split_address(configuration.api.listen, "api.listen")
    if southbound == api:
        raise ConfigurationError("api.listen", "is the address of southbound.listen too", "give it another port")
    if not is_loopback(api[0]) and configuration.api.token_file is None:
        raise ConfigurationError(
            "api.token_file",
            f"is missing, and {shown(api[0])} can be reached by others",
            "give one or listen on 127.0.0.1",
        )


def _check_network(configuration: Configuration) -> None:
    names_of: dict[int, str] = {}
    for name, dpid in configuration.network.switches.items():
        if dpid in names_of:
            problem = f"has the datapath id of {shown(names_of[dpid])}"
            raise ConfigurationError(f"network.switches.{printable(name)}", problem, "give every switch its own")
        names_of[dpid] = name
    prefixes: set[ipaddress.IPv4Network] = set()
    for index, host in enumerate(configuration.network.hosts):
        place = f"network.hosts[{index}]"
        try:
            prefix = ipaddress.IPv4Network(host.prefix)
        except ValueError:
            raise ConfigurationError(
                f"{place}.prefix",
                f"{shown(host.prefix)} is no IPv4 prefix",
                "give one like 10.1.0.0/16, host bits zero",
            ) from None
        if prefix in prefixes:
            raise ConfigurationError(f"{place}.prefix", f"{prefix} is there before", "give it once")
        prefixes.add(prefix)
        if int(host.mac[:2], 16) & 1:
            raise ConfigurationError(
                f"{place}.mac", f"{host.mac} is a group address", "give the address of one interface"
            )
        if host.node not in configuration.network.switches and not re.fullmatch(r"s[1-9][0-9]*", host.node):
            raise ConfigurationError(
                f"{place}.node",
                f"there is no switch {shown(host.node)}",
                "name one of network.switches or s<datapath id>",
            )


def _check_predictor(configuration: Configuration) -> None:
    """Addresses that can be, nothing that would silently do nothing, files that are there.  After ``located``."""
    chosen = configuration.predictor
    places = _address_places(chosen.address)
    addresses = [split_address(text, place) for place, text in places]
    for index, (place, text) in enumerate(places):
        if addresses[index] in addresses[:index]:
            raise ConfigurationError(place, f"{shown(text)} is there before", "name every server once")
    for key, given in (("tls", chosen.tls is not None), ("start", chosen.start)):
        if given and not addresses:
            raise ConfigurationError(f"predictor.{key}", "is set, and predictor.address is null", "give the address")
    if chosen.weights is not None:
        if chosen.kind != "gnn":
            raise ConfigurationError("predictor.weights", "is set, and kind analytic has none", "remove it")
        if addresses and not chosen.start:
            remedy = "give them to `routewright predictor --weights` there"
            raise ConfigurationError("predictor.weights", "is set, and the model is elsewhere", remedy)
        if not configuration.path(chosen.weights).is_file():
            problem = f"{printable_path(str(configuration.path(chosen.weights)))} is no file"
            raise ConfigurationError("predictor.weights", problem, "give the .safetensors file")
    if chosen.start:
        if len(addresses) > 1 or not is_loopback(addresses[0][0]):
            remedy = 'give one address of this machine, like "127.0.0.1:50051"'
            raise ConfigurationError("predictor.start", "starts one server, on loopback", remedy)
        for name in ("southbound", "api"):
            place = f"{name}.listen"
            if addresses[0] == split_address(getattr(configuration, name).listen, place):
                raise ConfigurationError("predictor.address", f"is the address of {place} too", "give another port")
    tls = configuration.predictor_settings().tls
    if tls is not None:
        try:
            tls.check()
        except ConfigurationError as error:
            raise ConfigurationError(f"predictor.{error.place}", error.problem, error.remedy) from None


def _address_places(addresses: tuple[str, ...] | None) -> list[tuple[str, str]]:
    """Place in the file and text of every address."""
    given = addresses or ()
    return [("predictor.address" + (f"[{index}]" if len(given) > 1 else ""), text) for index, text in enumerate(given)]


def _inventory(configuration: Configuration, directory: Path) -> tuple[Link, ...]:
    name = configuration.network.inventory
    if name is None:
        return ()
    try:
        return read_scenario(resolve(directory, name)).topology.links_of()
    except InputError as error:
        raise ConfigurationError(f"network.inventory: {error.place}", error.problem, error.remedy) from None


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for editors and other programs."""
    return Configuration.model_json_schema()
