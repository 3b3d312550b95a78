"""LLDP frames: standard TLVs, ours come back as sent, nothing else is ever taken for ours."""

from hypothesis import example, given
from hypothesis import strategies as st

from topology_sync.lldp import FRAME_BYTES, LldpContent, decode_lldp, encode_lldp, is_fresh

SECRET = b"k" * 32
dpids = st.integers(0, 2**64 - 1)
ports = st.integers(0, 2**32 - 1)
sequences = st.integers(0, 2**64 - 1)
times = st.floats(0, 1e12, allow_nan=False)


def tlvs(frame: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 14
    while True:
        header = int.from_bytes(frame[at : at + 2], "big")
        kind, length = header >> 9, header & 0x1FF
        found.append((kind, frame[at + 2 : at + 2 + length]))
        at += 2 + length
        if kind == 0:
            assert at == len(frame)
            return found


@given(dpids, ports, sequences, times)
def test_a_frame_comes_back_as_it_was_sent(dpid, port, sequence, sent_s):
    frame = encode_lldp(SECRET, dpid, port, sequence, sent_s)
    assert len(frame) == FRAME_BYTES
    assert decode_lldp(SECRET, frame) == LldpContent(dpid, port, sequence, sent_s)
    assert decode_lldp(SECRET, frame + b"\0" * 7) == LldpContent(dpid, port, sequence, sent_s)
    assert decode_lldp(b"another", frame) is None


def test_the_frame_is_made_of_the_mandatory_tlvs_in_order():
    frame = encode_lldp(SECRET, 0xAB, 7, 1, 2.5)
    assert frame[:6].hex() == "0180c200000e"
    assert frame[12:14].hex() == "88cc"
    assert frame[6] & 3 == 2, "the source address is a locally administered unicast one"
    kinds = tlvs(frame)
    assert [kind for kind, _ in kinds] == [1, 2, 3, 127, 0]
    assert kinds[0][1] == b"\x07dpid:00000000000000ab"
    assert kinds[1][1] == b"\x070000000007"
    assert kinds[3][1][:4] == b"RWT\x01"


@given(st.integers(0, FRAME_BYTES * 8 - 1), dpids, ports, sequences)
def test_any_flipped_bit_is_refused(bit, dpid, port, sequence):
    frame = bytearray(encode_lldp(SECRET, dpid, port, sequence, 12.25))
    frame[bit // 8] ^= 1 << bit % 8
    assert decode_lldp(SECRET, bytes(frame)) is None


@given(st.binary(max_size=200))
@example(b"\xff" * FRAME_BYTES)
@example(b"")
def test_garbage_is_not_ours_and_never_raises(frame):
    assert decode_lldp(SECRET, frame) is None


@given(st.integers(0, FRAME_BYTES - 1), st.binary(max_size=60))
def test_a_cut_frame_with_any_tail_is_refused(length, tail):
    frame = encode_lldp(SECRET, 1, 2, 3, 4.0)
    assert decode_lldp(SECRET, frame[:length] + tail) is None or frame[:length] + tail == frame


def test_a_replayed_frame_is_not_fresh():
    content = LldpContent(dpid=1, port=2, sequence=10, sent_s=100.0)
    assert is_fresh(content, 100.2, None, 1.5)
    assert is_fresh(content, 100.2, 9, 1.5)
    assert not is_fresh(content, 100.2, 10, 1.5), "the same frame again"
    assert not is_fresh(content, 102.0, 9, 1.5), "older than the link timeout"
    assert not is_fresh(content, 99.0, 9, 1.5), "from the future"
