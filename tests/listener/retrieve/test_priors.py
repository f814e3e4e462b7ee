"""Which earlier reports are asked for, in which order, and that one that fails costs no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pydicom import Dataset

from egfr_dls.listed_report import NotFetched
from egfr_dls.settings_sections import Source
from egfr_dls.uids import series_uid
from listener.retrieve import priors
from listener.retrieve.inbox import Inbox
from listener.retrieve.plan import Request
from listener.retrieve.priors import MAX_REPORTS, MAX_STUDIES, fetch_prior_reports
from listener.retrieve.source import STOPPED, Match, SourceError

TODAY = "1.2.3"


@dataclass
class Report:
    """A report as a source lists it."""

    study: str
    revision: str = "1"
    date: str = "20240101"
    patient_id: str = "4711"
    demonstration: bool = False
    kind: str = "report"

    @property
    def uid(self) -> str:
        return f"{self.study}.{1 + self.demonstration}.{self.revision}{'.7' if self.kind != 'report' else ''}"

    @property
    def series(self) -> str:
        return series_uid(self.study, "pet_ct_egfr", self.kind, demonstration=self.demonstration)


@dataclass
class Shelf:
    """A source; ``fails``: UID of a study, whose series it does not list, or of a report, which it does not give -> reason."""

    inbox: Inbox
    holds: Sequence[Report] = ()
    today: dict[str, str] = field(default_factory=lambda: {"PatientID": "4711", "StudyDate": "20250601"})
    fails: dict[str, SourceError] = field(default_factory=dict)
    brings: bool = True
    asked: list[Dataset] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def matches(self, wanted: Dataset, limit: int) -> list[Match]:
        assert limit == MAX_STUDIES or wanted.QueryRetrieveLevel == "IMAGE"
        self.asked.append(wanted)
        if wanted.QueryRetrieveLevel == "STUDY":
            if wanted.StudyInstanceUID:
                return [{"StudyInstanceUID": TODAY, "IssuerOfPatientID": "", **self.today}]
            return [{"StudyInstanceUID": r.study, "StudyDate": r.date, "PatientID": r.patient_id} for r in self.holds]
        if wanted.QueryRetrieveLevel == "SERIES":
            if wanted.StudyInstanceUID in self.fails:
                raise self.fails[wanted.StudyInstanceUID]
            return [{"SeriesInstanceUID": r.series} for r in self.holds if r.study == wanted.StudyInstanceUID]
        held = [r for r in self.holds if r.series == wanted.SeriesInstanceUID]
        return [{"SOPInstanceUID": r.uid, "InstanceNumber": r.revision} for r in held]

    def fetch(self, requests: Sequence[Request], study_instance_uid: str) -> None:
        assert self.inbox._reports >= {uid for r in requests for uid in r.sop_instance_uids}
        for uid in [uid for request in requests for uid in request.sop_instance_uids]:
            self.fetched.append(uid)
            if uid in self.fails:
                raise self.fails[uid]
            self.inbox.reports[uid] = b"report"


def shelf(*holds: Report, fails: dict[str, SourceError] | None = None, **keys: Any) -> Shelf:
    source = Source(name="pacs", ae_title="A", host="127.0.0.1", port=1)
    inbox = Inbox(cast(Any, None), source, "EGFR_DLS", TODAY)  # reports go past reception
    return Shelf(inbox, holds, fails=fails or {}, **keys)


def asked(source: Shelf) -> Shelf:
    fetch_prior_reports(source, source.inbox)
    return source


def left_out(source: Shelf) -> dict[str, NotFetched]:
    return dict(source.inbox.left_out)


def test_the_newest_revision_of_each_study_comes_the_newest_study_first() -> None:
    old, new = Report("1.1", date="20230101"), [Report("1.2", revision) for revision in ("9", "10", "x")]
    source = asked(shelf(old, *new))
    assert source.fetched == ["1.2.1.10", "1.1.1.1"]
    assert (set(source.inbox.reports), left_out(source)) == ({"1.2.1.10", "1.1.1.1"}, {})


def test_a_demonstration_hides_no_real_report() -> None:
    """Both come; which is shown is decided by what today's result is."""
    source = asked(shelf(Report("1.1"), Report("1.1", "2", demonstration=True)))
    assert source.fetched == ["1.1.1.1", "1.1.2.2"]


@pytest.mark.parametrize(
    "report",
    [
        Report("1.1", patient_id="4712"),
        Report("1.1", patient_id="4711 "),
        Report(TODAY),
        Report("not a UID"),
        Report("1.1", kind="pages"),
        Report("1.1", kind="rejection"),
    ],
    ids=str,
)
def test_what_is_no_earlier_report_of_the_patient_is_not_fetched(report: Report) -> None:
    source = asked(shelf(report, Report("1.9")))
    assert source.fetched == ["1.9.1.1"]


def test_only_studies_up_to_the_day_of_this_one_are_asked_for() -> None:
    source = asked(shelf())
    assert [str(keys.get("StudyDate")) for keys in source.asked] == ["", "-20250601"]


@pytest.mark.parametrize(
    "today",
    [{"PatientID": ""}, {"PatientID": "47*"}, {"PatientID": "47?1"}, {"PatientID": "47\\11"}, {"StudyDate": ""},
     {"StudyDate": "2025"}, {"StudyDate": "2025-06-01"}, {"StudyDate": "20250601-"}],
    ids=str,
)  # fmt: skip
def test_a_study_whose_patient_or_day_is_not_known_has_no_history(today: dict[str, str]) -> None:
    source = shelf(Report("1.1"))
    source.today |= today
    assert asked(source).fetched == []
    assert len(source.asked) == 1


def test_the_issuer_is_asked_for_where_there_is_one() -> None:
    source = shelf()
    source.today["IssuerOfPatientID"] = "SITE"
    assert [str(keys.IssuerOfPatientID) for keys in asked(source).asked] == ["", "SITE"]


def test_by_c_move_nothing_is_asked() -> None:
    assert asked(shelf(Report("1.1"), brings=False)).asked == []


def test_studies_without_a_report_take_no_place_of_those_with_one() -> None:
    plain = [Report(f"1.1.{n}", date="20250101", kind="pages") for n in range(MAX_REPORTS + 1)]
    assert asked(shelf(*plain, Report("1.2"))).fetched == ["1.2.1.1"]


def test_the_oldest_beyond_the_limit_are_left_out_and_named() -> None:
    many = [Report(f"1.{n}", date=f"{2000 + n}0101") for n in range(1, MAX_REPORTS + 3)]
    source = shelf(*many)
    source.today["StudyDate"] = "20990101"
    asked(source)
    assert len(source.fetched) == MAX_REPORTS
    assert left_out(source) == {f"1.{n}.1.1": NotFetched(f"1.{n}", "LIMIT") for n in (1, 2)}
    assert left_out(asked(shelf(*many[2:]))) == {}


@pytest.mark.parametrize("reason", ["RETRIEVE_STATUS_A702", "INCOMPLETE", "HTTP_500", "NO_ANSWER", "TIME_LIMIT"])
def test_a_report_that_fails_is_left_out_and_costs_no_other(reason: str) -> None:
    reports = [Report(f"1.{n}", date=f"202{n}0101") for n in (1, 2, 3)]
    source = asked(shelf(*reports, fails={"1.3.1.1": SourceError(reason)}))
    assert set(source.inbox.reports) == {"1.1.1.1", "1.2.1.1"}
    assert left_out(source) == {"1.3.1.1": NotFetched("1.3", reason)}


def test_a_report_that_came_all_the_same_is_not_left_out() -> None:
    """A warning for a status, as B000H of sub-operations."""
    source = shelf(Report("1.1"), fails={"1.1.1.1": SourceError("RETRIEVE_STATUS_B000")})
    source.inbox.reports["1.1.1.1"] = b"report"
    assert left_out(asked(source)) == {}


def test_a_study_that_cannot_be_listed_is_left_out_and_costs_no_other() -> None:
    source = asked(shelf(Report("1.1"), Report("1.2"), fails={"1.1": SourceError("QUERY_STATUS_C001")}))
    assert source.fetched == ["1.2.1.1"]
    assert left_out(source) == {"1.1": NotFetched("1.1", "QUERY_STATUS_C001")}


def test_a_source_that_lists_nothing_fails_as_a_whole() -> None:
    """Nobody knows whether these studies have a result of ours."""
    source = shelf(Report("1.1"), Report("1.2"), fails=dict.fromkeys(("1.1", "1.2"), SourceError("QUERY_STATUS_C001")))
    with pytest.raises(SourceError, match="QUERY_STATUS_C001"):
        asked(source)
    assert left_out(source) == {}


@pytest.mark.parametrize("reason", ["NO_ANSWER", "TIME_LIMIT", "TOO_MANY_MATCHES"])
def test_a_dialogue_that_ends_while_it_lists_is_not_taken_for_missing_studies(reason: str) -> None:
    source = shelf(Report("1.1"), Report("1.2"), fails={"1.1": SourceError(reason)})
    with pytest.raises(SourceError, match=reason):
        asked(source)


def test_a_stop_is_no_reason_to_leave_out() -> None:
    source = shelf(Report("1.1"), Report("1.2"), fails={"1.1.1.1": STOPPED, "1.2.1.1": STOPPED})
    with pytest.raises(SourceError) as stopped:
        asked(source)
    assert stopped.value is STOPPED
    assert (len(source.fetched), left_out(source)) == (1, {})


def test_what_was_withdrawn_is_not_fetched_and_the_one_before_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_of: list[str] = []

    def rejected(_source: object, _inbox: object, _study: str, series: str) -> frozenset[str]:
        asked_of.append(series)
        return frozenset({"1.1.1.3"})

    monkeypatch.setattr(priors, "rejected", rejected)
    note = Report("1.1", kind="rejection")
    source = asked(shelf(*(Report("1.1", revision) for revision in "123"), note, Report("1.2")))
    assert sorted(source.fetched) == ["1.1.1.2", "1.2.1.1"]
    assert asked_of == [note.series]
