"""One switch's channel: what is sent to it, and the replies that belong to what was sent.

Every channel has its own greenlets, so a slow or dead switch holds up nobody else; whoever waits for a reply waits with
a timeout and is woken when the channel closes.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventlet.hubs import get_hub
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.metrics import Metrics

LOG = logging.getLogger(__name__)
PACKET_OUT_LIMIT = 512
MOD_BURST_S = 0.05


@dataclass(frozen=True)
class BatchOutcome:
    """What became of a batch: ``errors`` are one line each; ``confirmed`` means that the barrier was answered."""

    confirmed: bool
    errors: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Everything was sent, answered and accepted."""
        return self.confirmed and not self.errors


@dataclass(eq=False)
class _Pending:
    """A request that waits for its reply; ``parts`` are bodies of multipart replies."""

    done: Any = field(default_factory=hub.Event)
    parts: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answered: bool = False


class SwitchChannel:
    """The connection to one switch.

    ``send_batch`` and ``request`` block the calling greenlet (never call them from a handler of Ryu events),
    ``post`` does not.  ``on_reply`` is what handlers call.
    """

    def __init__(self, datapath: Any, mods_per_s: float, metrics: Metrics) -> None:
        self.datapath = datapath
        self.dpid: int = datapath.id
        self.closed = False
        self._metrics = metrics
        self._mods_per_s = mods_per_s
        self._mod_credit = mods_per_s * MOD_BURST_S
        self._credit_time_s = time.monotonic()
        self._pending: dict[int, _Pending] = {}
        self._sending = hub.Semaphore(1)
        self._packets: deque[Callable[[], Any]] = deque()
        self._packets_waiting = hub.Event()
        self._packet_sender = hub.spawn(self._send_packets)

    def send_batch(
        self, messages: Sequence[Any], timeout_s: float, then: Callable[[], Sequence[Any]] = tuple
    ) -> BatchOutcome:
        """Send flow_mods and group_mods in order, then a barrier; wait for its reply and collect errors by xid.

        ``then`` gives packet-outs to send right behind the last message.
        """
        pending = _Pending()
        deadline_s = time.monotonic() + timeout_s
        barrier = parser.OFPBarrierRequest(self.datapath)
        xids: list[int] = []
        try:
            with hub.Timeout(timeout_s, False), self._sending:
                for message in messages:
                    self._await_credit()
                    if not self._transmit(message, pending, xids):
                        return BatchOutcome(False, ("the switch went away",))
                    self._count_mod(message)
                for packet in then():
                    self.datapath.send_msg(packet)
                if not self._transmit(barrier, pending, xids):
                    return BatchOutcome(False, ("the switch went away",))
            if len(xids) <= len(messages):
                return BatchOutcome(False, (*pending.errors, f"the switch took no messages within {timeout_s:g} s"))
            pending.done.wait(max(0.0, deadline_s - time.monotonic()))
        finally:
            for xid in xids:
                self._pending.pop(xid, None)
        if not pending.answered:
            reason = "the switch went away" if self.closed else f"no barrier reply within {timeout_s:g} s"
            return BatchOutcome(False, (*pending.errors, reason))
        return BatchOutcome(True, tuple(pending.errors))

    def request(self, message: Any, timeout_s: float) -> list[Any] | None:
        """Send a multipart request and join the bodies of all its reply parts; None when no full reply came in time."""
        return self.request_all([message], timeout_s)[0]

    def request_all(self, messages: Sequence[Any], timeout_s: float) -> list[list[Any] | None]:
        """Like ``request`` for several that are sent in one go, so that the switch answers them at the same moment."""
        waiting = [_Pending() for _ in messages]
        deadline_s = time.monotonic() + timeout_s
        xids: list[int] = []
        try:
            with hub.Timeout(timeout_s, False):
                if self._transmit_all(messages, waiting, xids):
                    for pending in waiting:
                        pending.done.wait(max(0.0, deadline_s - time.monotonic()))
        finally:
            for xid in xids:
                self._pending.pop(xid, None)
        return [pending.parts if pending.answered and not pending.errors else None for pending in waiting]

    def post(self, build: Callable[[], Any]) -> bool:
        """Send one message without waiting; ``build`` is called just before it goes out.  False when it was dropped."""
        if self.closed or len(self._packets) >= PACKET_OUT_LIMIT:
            self._metrics.packets_dropped.labels("queue_full").inc()
            return False
        self._packets.append(build)
        self._packets_waiting.set()
        return True

    def send_now(self, message: Any) -> bool:
        """Write one message to the socket in this very moment, so that a time stamp in it is true.

        False, and nothing is sent, when earlier messages still wait or the socket is full.
        """
        datapath = self.datapath
        queue = datapath.send_q
        socket = getattr(datapath.socket, "fd", None)
        if self.closed or socket is None or queue is None or queue.qsize():
            return False
        if get_hub().listeners["write"].get(socket.fileno()):
            return False  # the sender is in the middle of a message
        if message.xid is None:
            datapath.set_xid(message)
        message.serialize()
        try:
            sent = socket.send(message.buf)
        except OSError:
            return False  # full, or broken: then the receive loop notices it too
        if sent < len(message.buf):
            datapath.send(message.buf[sent:])
        return True

    def on_reply(self, message: Any) -> None:
        """Take a barrier reply, multipart reply or error message that came from the switch."""
        if message.msg_type == ofproto.OFPT_ERROR:
            self._on_error(message)
            return
        pending = self._pending.get(message.xid)
        if pending is None:
            return
        if message.msg_type == ofproto.OFPT_MULTIPART_REPLY:
            pending.parts.extend(message.body if isinstance(message.body, list) else [message.body])
            if message.flags & ofproto.OFPMPF_REPLY_MORE:
                return
        pending.answered = True
        pending.done.set()

    def close(self) -> None:
        """Wake everybody who waits and stop sending."""
        self.closed = True
        for pending in list(self._pending.values()):
            pending.done.set()
        self._packets.clear()
        self._packets_waiting.set()

    def _on_error(self, message: Any) -> None:
        text = describe_error(message)
        self._metrics.openflow_errors.labels(str(message.type)).inc()
        pending = self._pending.get(message.xid)
        if pending is None:
            LOG.warning("switch %#x: error for a message nobody waits for: %s", self.dpid, text)
            return
        pending.errors.append(text)
        if isinstance(message.data, bytes | bytearray) and message.data[1:2] == bytes([ofproto.OFPT_MULTIPART_REQUEST]):
            pending.done.set()

    def _transmit(self, message: Any, pending: _Pending, xids: list[int]) -> bool:
        if self.closed:
            return False
        xid = self.datapath.set_xid(message)
        xids.append(xid)
        self._pending[xid] = pending
        return bool(self.datapath.send_msg(message))

    def _transmit_all(self, messages: Sequence[Any], waiting: Sequence[_Pending], xids: list[int]) -> bool:
        if self.closed:
            return False
        joined = b""
        for message, pending in zip(messages, waiting, strict=True):
            xid = self.datapath.set_xid(message)
            xids.append(xid)
            self._pending[xid] = pending
            message.serialize()
            joined += bytes(message.buf)
        return bool(self.datapath.send(joined))

    def _await_credit(self) -> None:
        now_s = time.monotonic()
        limit = max(1.0, self._mods_per_s * MOD_BURST_S)
        self._mod_credit = min(limit, self._mod_credit + (now_s - self._credit_time_s) * self._mods_per_s)
        self._credit_time_s = now_s
        if self._mod_credit < 1.0:
            hub.sleep((1.0 - self._mod_credit) / self._mods_per_s)
            return self._await_credit()
        self._mod_credit -= 1.0
        return None

    def _count_mod(self, message: Any) -> None:
        if message.msg_type == ofproto.OFPT_FLOW_MOD:
            self._metrics.flow_mods.inc()
        elif message.msg_type == ofproto.OFPT_GROUP_MOD:
            self._metrics.group_mods.inc()

    def _send_packets(self) -> None:
        while not self.closed:
            self._packets_waiting.wait()
            self._packets_waiting.clear()
            while self._packets and not self.closed:
                try:
                    message = self._packets.popleft()()
                    if message is not None:
                        self.datapath.send_msg(message)
                except Exception:
                    LOG.exception("switch %#x: a packet could not be sent", self.dpid)


def describe_error(message: Any) -> str:
    """An OpenFlow error message in one line."""
    if message.type == ofproto.OFPET_EXPERIMENTER:
        return f"experimenter error {message.exp_type}"
    kind = ofproto.ofp_error_type_to_str(message.type)
    return f"{kind} {ofproto.ofp_error_code_to_str(message.type, message.code)}"
