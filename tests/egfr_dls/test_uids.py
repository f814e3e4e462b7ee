"""UIDs left the product: what a value gave once it gives for ever."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from egfr_dls import uids

STUDY = ("1.2.3", "pet_ct_egfr", "report")
PINNED = (
    (uids.CODING_SCHEME_UID, "2.25.70546708561088810823383431850080743327"),
    (uids.derived_uid("report", "1.2.3", 1, None), "2.25.139323610248092408448214189100297920186"),
    (uids.series_uid(*STUDY, demonstration=False), "2.25.10688681205517884106230470571599203798"),
    (uids.series_uid(*STUDY, demonstration=True), "2.25.273894316674806447865117313378199765766"),
    (uids.device_uid("ab" * 32, "0.1.0"), "2.25.130671761986164927408465251038354969248"),
)


def test_known_values_never_change() -> None:
    assert [made for made, _ in PINNED] == [pinned for _, pinned in PINNED]


@given(st.lists(st.one_of(st.text(), st.integers(), st.none())))
def test_derived_uid_is_a_valid_uid(parts: list[str | int | None]) -> None:
    """PS3.5 9.1 and B.2: at most 64 characters, components without leading zeros."""
    uid = uids.derived_uid(*parts)
    assert len(uid) <= 44
    assert re.fullmatch(r"2\.25\.(0|[1-9][0-9]*)", uid)


def test_parts_do_not_run_into_one_another() -> None:
    assert uids.derived_uid("ab", "c") != uids.derived_uid("a", "bc")
    assert uids.derived_uid("1") != uids.derived_uid(1)
    assert uids.derived_uid(None) != uids.derived_uid("None") != uids.derived_uid()


def test_series_numbers_of_our_kinds_differ() -> None:
    assert len(set(uids.OBJECT_KINDS.values())) == len(uids.OBJECT_KINDS)
