"""Cookies: what is packed comes back, masks select what they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology_sync.cookies import OURS, Cookie, of_demand, of_label

cookies = st.builds(Cookie, st.integers(0, 255), st.integers(0, 0xFFFFF), st.integers(0, 0xFFFFF))


@given(cookies)
def test_a_cookie_comes_back_as_packed(cookie):
    packed = cookie.pack()
    assert packed < 2**64
    assert Cookie.unpack(packed) == cookie
    assert packed & OURS.mask == OURS.value


@given(cookies, st.integers(0, 0xFFFFF))
def test_masks_select_exactly_one_demand_or_label(cookie, number):
    packed = cookie.pack()
    for match, part in ((of_demand(number), cookie.demand), (of_label(number), cookie.label)):
        assert (packed & match.mask == match.value) == (part == number)
        assert match.value & ~match.mask == 0


@given(st.integers(0, 2**64 - 1))
def test_foreign_cookies_are_not_ours(value):
    assert (Cookie.unpack(value) is not None) == (value >> 48 == 0x5257)


@pytest.mark.parametrize("cookie", [Cookie(256, 0, 0), Cookie(0, 1 << 20, 0), Cookie(0, 0, 1 << 20), Cookie(-1, 0, 0)])
def test_parts_that_do_not_fit_are_refused(cookie):
    with pytest.raises(ValueError, match="cookie"):
        cookie.pack()
