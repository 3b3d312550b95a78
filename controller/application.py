"""The Ryu application: turns messages into calls and events, and nothing else.

Handlers run in one greenlet for all switches, so none of them waits: they fold events and put things into queues.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any, Protocol

from ryu.base.app_manager import RyuApp
from ryu.controller import ofp_event
from ryu.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_3 as ofproto

from controller.discovery_loop import physical_port
from topology_sync.events import PortChanged, SwitchConnected, SwitchDisconnected

LOG = logging.getLogger(__name__)


class Listener(Protocol):
    """What is told about switches and packets; no method may block."""

    def switch_connected(self, datapath: Any, event: SwitchConnected) -> None: ...

    def switch_disconnected(self, datapath: Any, event: SwitchDisconnected) -> None: ...

    def port_changed(self, event: PortChanged) -> None: ...

    def packet_in(self, dpid: int, port: int, frame: bytes, arrived_s: float | None, cookie: int) -> None: ...

    def flow_removed(self, dpid: int, message: Any) -> None: ...

    def reply(self, dpid: int, message: Any) -> None: ...


class ControllerApplication(RyuApp):
    """Receives Ryu's events."""

    OFP_VERSIONS = (ofproto.OFP_VERSION,)

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def on_state(self, ev: Any) -> None:
        """The handshake with a switch is complete, or its connection ended."""
        datapath = ev.datapath
        if datapath.id is None:
            return
        now_s = time.monotonic()
        if ev.state == MAIN_DISPATCHER:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Ryu warns about its own attribute
                descriptions = list(datapath.ports.values())
            ports = tuple(port for entry in descriptions if (port := physical_port(entry)) is not None)
            self._listener.switch_connected(datapath, SwitchConnected(now_s, datapath.id, ports))
        else:
            self._listener.switch_disconnected(datapath, SwitchDisconnected(now_s, datapath.id))

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def on_port_status(self, ev: Any) -> None:
        """A port came, changed or went."""
        port = physical_port(ev.msg.desc)
        if port is not None:
            removed = ev.msg.reason == ofproto.OFPPR_DELETE
            self._listener.port_changed(PortChanged(time.monotonic(), ev.msg.datapath.id, port, removed))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def on_packet_in(self, ev: Any) -> None:
        """A packet came up, some time ago by the kernel's stamp."""
        message = ev.msg
        arrived_s = None
        if message.arrived_s is not None:
            arrived_s = time.monotonic() - max(0.0, time.time() - message.arrived_s)
        port, frame = message.match["in_port"], bytes(message.data)
        self._listener.packet_in(message.datapath.id, port, frame, arrived_s, message.cookie)

    @set_ev_cls(ofp_event.EventOFPFlowRemoved, MAIN_DISPATCHER)
    def on_flow_removed(self, ev: Any) -> None:
        """A rule is gone."""
        self._listener.flow_removed(ev.msg.datapath.id, ev.msg)

    @set_ev_cls(
        [
            ofp_event.EventOFPBarrierReply,
            ofp_event.EventOFPFlowStatsReply,
            ofp_event.EventOFPGroupDescStatsReply,
            ofp_event.EventOFPPortStatsReply,
        ],
        MAIN_DISPATCHER,
    )
    def on_reply(self, ev: Any) -> None:
        """An answer to something that we asked."""
        self._listener.reply(ev.msg.datapath.id, ev.msg)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def on_error(self, ev: Any) -> None:
        """A switch refused something."""
        self._listener.reply(ev.msg.datapath.id, ev.msg)
