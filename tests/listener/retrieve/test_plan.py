"""What of a source's list is asked for."""

from __future__ import annotations

from listener.retrieve.plan import ListedSeries, Request, plan

CT, PT = ListedSeries("1", "CT", ("1.1", "1.2", "1.3")), ListedSeries("2", "PT", ("2.1",))


def test_what_is_not_here_is_asked_for_as_a_series() -> None:
    assert plan([CT], frozenset()) == (Request("1", "CT", frozenset(CT.sop_instance_uids), whole=True),)


def test_of_what_is_here_in_part_the_missing_instances_are_asked_for() -> None:
    assert plan([CT], {"1.2"}) == (Request("1", "CT", frozenset({"1.1", "1.3"}), whole=False),)


def test_what_is_here_or_empty_is_not_asked_for_and_the_order_is_the_sources() -> None:
    empty = ListedSeries("3", "CT", ())
    assert plan([PT, empty, CT], set(CT.sop_instance_uids)) == (Request("2", "PT", frozenset({"2.1"}), whole=True),)
    assert [request.series_instance_uid for request in plan([PT, CT], set())] == ["2", "1"]
