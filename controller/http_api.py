"""The controller's HTTP API as a WSGI application; see ARCHITECTURE.md, "Controller HTTP API"."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from eventlet import tpool
from ryu.lib import hub

from controller.control import Control
from controller.intent import NetworkIntent, with_plan, with_queue_weights
from controller.labels import LabelTable
from controller.plan_routing import LivePicture, planned_routes, planned_weights, snapshot
from controller.rules_text import rules_to_json
from topology_sync.errors import InputError, TransactionError, UnavailableError
from topology_sync.network_state import NetworkState
from topology_sync.plan import RoutingPlan
from topology_sync.plan_json import plan_from_json, transaction_to_json
from topology_sync.state_json import state_to_json
from topology_sync.strict_json import parse_json

LOG = logging.getLogger(__name__)
LARGEST_BODY_BYTES = 16 * 1024 * 1024
LONGEST_WAIT_S = 60.0
BODY_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: str
    body: bytes
    content_type: str = "application/json"

    @classmethod
    def of(cls, data: Any, status: str = "200 OK") -> Answer:
        """A JSON response."""
        return cls(status, _encoded(data))

    @classmethod
    def error(cls, status: str, text: str) -> Answer:
        """A refusal in one line."""
        return cls.of({"error": " ".join(text.split())}, status)


class StaleTopologyError(InputError):
    """A plan made for another topology than the present one."""


class HttpApi:
    """Routes requests; every handler runs in the request's own greenlet."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._handlers: dict[tuple[str, str], Callable[[dict[str, Any]], Answer]] = {
            ("GET", "/api/v1/state"): self._state,
            ("GET", "/api/v1/events"): self._events,
            ("GET", "/api/v1/transactions"): self._transactions,
            ("GET", "/api/v1/rules"): self._rules,
            ("GET", "/api/v1/statistics"): self._statistics,
            ("PUT", "/api/v1/routing"): self._routing,
            ("GET", "/healthz"): self._health,
            ("GET", "/metrics"): self._metrics,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self._answer(environ)
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        start_response(answer.status, headers)
        return [answer.body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        handler = self._handlers.get((method, path))
        if handler is None:
            allowed = [known for known, where in self._handlers if where == path]
            if allowed:
                return Answer.error("405 Method Not Allowed", f"{path} takes {', '.join(allowed)}")
            return Answer.error("404 Not Found", f"there is no {path}")
        try:
            return handler(environ)
        except StaleTopologyError as error:
            return Answer.error("409 Conflict", str(error))
        except InputError as error:
            return Answer.error("400 Bad Request", str(error))
        except UnavailableError as error:
            return Answer.error("503 Service Unavailable", str(error))
        except Exception as error:
            LOG.exception("%s %s failed", method, path)
            return Answer.error("500 Internal Server Error", f"{type(error).__name__}: {error}")

    def picture(self) -> LivePicture:
        """Everything a snapshot is made of, now."""
        view = self._control.view
        transactions = self._control.transactions
        return LivePicture(
            view.discovery,
            view.telemetry,
            view.delays,
            transactions.intent,
            transactions.routing_version,
            time.monotonic(),
            time.time(),
        )

    def _state(self, environ: dict[str, Any]) -> Answer:
        picture = self.picture()
        return Answer("200 OK", tpool.execute(lambda: _encoded(state_to_json(self._snapshot(picture)))))

    def _snapshot(self, picture: LivePicture) -> NetworkState:
        """Some tens of milliseconds of work: for a thread of its own, lest nobody else be served meanwhile."""
        control = self._control
        return snapshot(picture, control.settings, control.names, control.view.discovery_settings)

    def _events(self, environ: dict[str, Any]) -> Answer:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        after = int(_number(query, "after", 0))
        wait_s = min(_number(query, "wait_s", 0), LONGEST_WAIT_S)
        journal = self._control.journal
        return Answer.of(journal.to_json(journal.wait_after(after, wait_s)))

    def _transactions(self, environ: dict[str, Any]) -> Answer:
        return Answer.of({"transactions": [transaction_to_json(one) for one in self._control.transactions.reports]})

    def _rules(self, environ: dict[str, Any]) -> Answer:
        names = self._control.names
        rules = self._control.switches.rules
        return Answer.of({names.name_of(dpid): rules_to_json(one) for dpid, one in rules.items()})

    def _statistics(self, environ: dict[str, Any]) -> Answer:
        control = self._control
        return Answer.of(
            {
                "flow_mods": control.metrics.value("flow_mods_total"),
                "group_mods": control.metrics.value("group_mods_total"),
                "queue_changes": control.metrics.value("queue_changes_total"),
                "switches_connected": len(tuple(control.switches.connected)),
                "switches_in_line": len(control.switches.rules),
                "topology_version": control.view.discovery.topology_version,
                "routing_version": control.transactions.routing_version,
                "settled": control.view.settled(),
                "largest_stall_s": control.loops.largest_stall_s(),
                "round_trip_s": {
                    control.names.name_of(dpid): control.view.calibration.round_trip_s(dpid)
                    for dpid in control.view.calibration.recent_s
                },
            }
        )

    def _routing(self, environ: dict[str, Any]) -> Answer:
        plan = plan_from_json(parse_json(_body(environ)))
        self._check_version(plan)

        def change(intent: NetworkIntent, labels: LabelTable) -> tuple[NetworkIntent, LabelTable]:
            return self._planned(plan, intent, labels)

        report = self._control.transactions.run_plan(plan.plan_id, change)
        self._control.keeper.request()
        return Answer.of(transaction_to_json(report))

    def _planned(
        self, plan: RoutingPlan, intent: NetworkIntent, labels: LabelTable
    ) -> tuple[NetworkIntent, LabelTable]:
        """Called when the plan's turn has come: the network may have changed since it was sent."""
        self._check_version(plan)
        control = self._control
        picture = self.picture()
        scenario = tpool.execute(self._snapshot, picture).scenario
        routes = planned_routes(plan, scenario, picture.discovery, control.names)
        weights = planned_weights(plan, scenario, control.settings, control.names)
        for paths in routes.values():
            for path in paths:
                for dpid in {hop.dpid for hop in path.links} - control.switches.rules.keys():
                    raise TransactionError(f"switch {control.names.name_of(dpid)} on a new path cannot be reached now")
        intent, labels = with_plan(intent, labels, routes)
        if weights and control.settings.queues is not None:
            intent = with_queue_weights(intent, weights, control.settings.queues.weights)
        return intent, labels

    def _check_version(self, plan: RoutingPlan) -> None:
        present = self._control.view.discovery.topology_version
        if plan.topology_version != present:
            raise StaleTopologyError(
                "topology_version", f"is {plan.topology_version}, the network is at {present}", "plan again"
            )

    def _health(self, environ: dict[str, Any]) -> Answer:
        loops = self._control.loops.alive()
        status = "200 OK" if all(loops.values()) else "503 Service Unavailable"
        return Answer.of({"ok": all(loops.values()), "loops": loops}, status)

    def _metrics(self, environ: dict[str, Any]) -> Answer:
        return Answer("200 OK", self._control.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")


def _encoded(data: Any) -> bytes:
    return json.dumps(data, allow_nan=False).encode() + b"\n"


def _number(query: dict[str, list[str]], name: str, default: float) -> float:
    text = query.get(name, [str(default)])[-1]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 2**53:
        raise InputError(name, f"is '{text[:40]}'", "give a number of 0 or more")
    return value


def _body(environ: dict[str, Any]) -> str:
    text = environ.get("CONTENT_LENGTH") or ""
    if not text.isdecimal():
        raise InputError("", "the request has no Content-Length", "send the plan as the body")
    length = int(text)
    if length > LARGEST_BODY_BYTES:
        raise InputError("", f"the body has {length} bytes", f"send at most {LARGEST_BODY_BYTES}")
    with hub.Timeout(BODY_TIMEOUT_S, InputError("", f"the body did not come within {BODY_TIMEOUT_S:g} s")):
        data: bytes = environ["wsgi.input"].read(length)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError("", "the body is not UTF-8", "send JSON in UTF-8") from error
