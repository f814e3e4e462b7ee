"""One result a study, of today's kind, the newest: the rest is left out, with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from egfr_dls.findings import OWN_LEDGER, PriorFinding
from inference.earlier import BEYOND_LIMIT, MAX_EARLIER, OF_ANOTHER_KIND, UNREADABLE, EarlierResult, time_line

FINDING = PriorFinding("2025-01-31", 0.25, None, "pacs", False, "egfr 1.0.0", "ab" * 32, 0.5)


def scored(study: str, score: float, *, source: str = "pacs", revision: int = 1, demonstration: bool = False,
           date: str = "20250131", time: str = "") -> EarlierResult:  # fmt: skip
    finding = replace(FINDING, egfr_dls=score, source=source, demonstration=demonstration)
    return EarlierResult(study, source, revision, (date, time), demonstration, finding)


def refused(study: str, **keys: object) -> EarlierResult:
    return replace(scored(study, 0.5, **keys), finding=None)  # type: ignore[arg-type]  # as scored


def lost(study: str, why: str = UNREADABLE, source: str = "pacs", revision: int = -1) -> EarlierResult:
    return EarlierResult(study, source, revision, why_left_out=why)


def scores(*results: EarlierResult, demonstration: bool = False) -> list[float]:
    return [prior.egfr_dls for prior in time_line(results, demonstration=demonstration).priors]


def left_out(*results: EarlierResult, demonstration: bool = False) -> dict[tuple[str, str], int]:
    return dict(time_line(results, demonstration=demonstration).left_out)


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_revisions_of_a_study_the_newest_counts(order: int) -> None:
    both = [scored("1", 0.1, revision=1), scored("1", 0.2, revision=2, source="archive")][::order]
    assert (scores(*both), left_out(*both)) == ([0.2], {})


def test_a_newest_revision_that_was_refused_leaves_no_older_score() -> None:
    both = scored("1", 0.1, revision=1), refused("1", revision=2)
    assert (scores(*both), left_out(*both)) == ([], {})


def test_what_the_node_found_itself_goes_before_what_a_source_has() -> None:
    assert scores(scored("1", 0.1, revision=7), scored("1", 0.2, source=OWN_LEDGER)) == [0.2]
    assert scores(scored("1", 0.1, revision=7), refused("1", source=OWN_LEDGER)) == []


def test_a_revision_of_our_own_that_cannot_be_read_is_replaced_by_no_other() -> None:
    both = scored("1", 0.1, source=OWN_LEDGER), lost("1", source=OWN_LEDGER, revision=2)
    assert (scores(*both), left_out(*both)) == ([], {(OWN_LEDGER, UNREADABLE): 1})
    older = scored("1", 0.1, source=OWN_LEDGER, revision=2), lost("1", source=OWN_LEDGER, revision=1)
    assert (scores(*older), left_out(*older)) == ([0.1], {})


def test_of_sources_what_can_be_shown_goes_before_what_cannot() -> None:
    both = (
        scored("1", 0.1, source="archive", revision=0),
        EarlierResult("1", "pacs", why_left_out="not fetched (LIMIT)"),
    )
    assert (scores(*both), left_out(*both)) == ([0.1], {})


def test_one_that_cannot_be_read_costs_no_other() -> None:
    all_of_them = scored("1", 0.1), lost("2"), lost("3"), scored("4", 0.4)
    assert (scores(*all_of_them), left_out(*all_of_them)) == ([0.1, 0.4], {("pacs", UNREADABLE): 2})


def test_a_demonstration_hides_no_real_result_and_a_real_one_no_demonstration() -> None:
    both = scored("1", 0.1, revision=1), scored("1", 0.2, revision=9, demonstration=True)
    assert (scores(*both), left_out(*both)) == ([0.1], {})
    assert scores(*both, demonstration=True) == [0.2]


@pytest.mark.parametrize("demonstration", [False, True])
def test_the_other_kind_alone_is_left_out_and_said(demonstration: bool) -> None:
    other = scored("1", 0.1, demonstration=not demonstration)
    assert scores(other, demonstration=demonstration) == []
    assert left_out(other, demonstration=demonstration) == {("pacs", OF_ANOTHER_KIND[demonstration]): 1}
    assert left_out(refused("1", demonstration=not demonstration), demonstration=demonstration) == {}


def test_the_time_line_goes_by_date_and_time_oldest_first() -> None:
    assert scores(
        scored("1", 0.3, date="20250131", time="0900"),
        scored("2", 0.1, date="20240229", time="1200"),
        scored("3", 0.2, date="20250131", time="0800"),
    ) == [0.1, 0.2, 0.3]


def test_the_newest_are_shown_and_the_rest_is_counted_per_study() -> None:
    """What gives no score takes no place of one that does."""
    older = [scored(f"1.{n}", n / 1000, revision=r, date=f"2024{n // 28 + 1:02d}{n % 28 + 1:02d}")
             for n in range(MAX_EARLIER + 3) for r in (1, 2)]  # fmt: skip
    newer = [refused(f"2.{n}", date="20250601") for n in range(MAX_EARLIER)]
    line = time_line([*newer, *older], demonstration=False)
    assert [prior.egfr_dls for prior in line.priors] == [n / 1000 for n in range(3, MAX_EARLIER + 3)]
    assert line.left_out == {("pacs", BEYOND_LIMIT): 3}
    exactly = time_line(older[6:], demonstration=False)
    assert (len(exactly.priors), exactly.left_out) == (MAX_EARLIER, {})
