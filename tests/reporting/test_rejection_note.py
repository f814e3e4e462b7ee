"""The rejection note: it names every withdrawn object, why and by whom, and is a legal Key Object Selection."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import highdicom as hd
import pytest
from pydicom import Dataset, dcmread

from reporting.build import ReportObject, to_bytes
from reporting.rejection_note import RejectionTitle, build_rejection_note
from tests.reporting.report_cases import NOW, Case, demonstration, items, name_of, refused, scored
from tests.reporting.validators import ACCEPTED, ACCEPTED_BETWEEN, need, remarks, written

REASON = "Wrong lesion: the region lies on the heart."


def withdrawn(case: Case) -> list[Dataset]:
    """Return the headers of the case's objects, the report first, as they are read from their bytes."""
    objects = case.build()
    kinds = sorted(objects, key=lambda kind: kind != "report")
    return [dcmread(io.BytesIO(to_bytes(objects[kind])), stop_before_pixels=True) for kind in kinds]


def note(case: Case, reason: str = REASON, by: str = "Reader Rita", **arguments: object) -> ReportObject:
    return build_rejection_note(case.findings, withdrawn(case), reason=reason, by=by, at=NOW, **arguments)


def referred(ds: Dataset) -> set[str]:
    return {str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for i in items(ds) if "ReferencedSOPSequence" in i}


@pytest.mark.parametrize("case", [scored().with_pages(), refused().with_pages()], ids=["scored", "refused"])
def test_every_withdrawn_object_is_named_with_reason_and_person(case: Case) -> None:
    ds = dcmread(io.BytesIO(to_bytes(note(case))))
    uids = {made.sop_instance_uid for made in case.build().values()}
    assert referred(ds) == uids
    assert {
        i.ReferencedSOPInstanceUID
        for s in ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for i in s.ReferencedSOPSequence
    } == uids
    said = {name_of(i): i for i in items(ds)}
    assert said["113012"].TextValue == REASON
    assert str(said["121008"].PersonName) == "Reader Rita^"
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert (ds.Modality, ds.SeriesNumber, ds.InstanceNumber) == ("KO", 9006, 1)
    assert ds.SeriesDescription == "EGFR-DLS rejection note (research)"


def test_patient_and_study_are_those_of_the_withdrawn_report() -> None:
    report = scored().build()["report"].dataset
    ds = note(scored()).dataset
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert ds[keyword].value == report[keyword].value, keyword


def test_the_requests_of_the_report_are_those_of_the_note() -> None:
    case = scored()
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", "größer"
    case.sources.reference.SpecificCharacterSet = "ISO_IR 192"
    case.sources.reference.RequestAttributesSequence = [request]
    (item,) = dcmread(io.BytesIO(to_bytes(note(case)))).ReferencedRequestSequence
    assert (item.RequestedProcedureID, item.RequestedProcedureDescription) == ("RP1", "größer")


def test_the_same_withdrawal_is_the_same_object_and_any_other_is_not() -> None:
    first = note(scored())
    assert to_bytes(note(scored())) == to_bytes(first)
    others = [
        note(scored(), reason="another reason"),
        note(scored(), by="Somebody Else"),
        note(scored(), title=RejectionTitle.PATIENT_SAFETY),
        note(scored().with_pages()),
        note(refused()),
    ]
    assert len({made.sop_instance_uid for made in [first, *others]}) == 6
    assert others[2].dataset.ConceptNameCodeSequence[0].CodeValue == "113037"


def test_a_later_note_stands_in_the_same_series() -> None:
    first = note(scored()).dataset
    later = note(scored(), reason="again", number=2, series_datetime=NOW - timedelta(days=1)).dataset
    assert first.SeriesInstanceUID == later.SeriesInstanceUID
    assert (later.InstanceNumber, later.SeriesDate, later.ContentDate) == (2, "20250101", "20250102")


def test_a_demonstration_is_withdrawn_in_its_own_series() -> None:
    ds = note(demonstration(scored())).dataset
    assert ds.SeriesDescription == "EGFR-DLS DEMONSTRATION, not a patient result"
    assert ds.SeriesInstanceUID != note(scored()).dataset.SeriesInstanceUID


def test_what_was_typed_is_text_and_never_structure() -> None:
    ds = note(scored(), reason="a\x00b\r\n  c <b>", by="Rita\\=^\x1b" + "x" * 80).dataset
    said = {name_of(i): i for i in items(ds)}
    assert said["113012"].TextValue == "a b c <b>"
    assert len(str(said["121008"].PersonName)) <= 64
    assert str(said["121008"].PersonName).count("^") == 1


@pytest.mark.parametrize("arguments", [{"reason": " \n"}, {"by": "^"}])
def test_a_note_without_reason_or_person_is_not_made(arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a reason and the name of a person"):
        note(scored(), **arguments)


def test_highdicom_reads_the_note() -> None:
    ds = dcmread(io.BytesIO(to_bytes(note(scored()))))
    read = hd.ko.KeyObjectSelectionDocument.from_dataset(ds)
    study, series, uid = read.resolve_reference(scored().build()["report"].sop_instance_uid)
    assert (study, uid) == (ds.StudyInstanceUID, scored().build()["report"].sop_instance_uid)
    assert series == scored().build()["report"].dataset.SeriesInstanceUID


@pytest.mark.dicom3tools
@pytest.mark.parametrize("title", RejectionTitle)
def test_dciodvfy_and_dcentvfy_have_nothing_to_say(title: RejectionTitle, tmp_path: Path) -> None:
    paths = [*written(scored().with_pages(), tmp_path), tmp_path / "note.dcm"]
    paths[-1].write_bytes(to_bytes(note(scored().with_pages(), title=title)))
    found = remarks(need("dciodvfy"), paths[-1])
    assert [line for line in found if not any(known in line for known in ACCEPTED)] == []
    assert [line for line in remarks(need("dcentvfy"), *paths) if ACCEPTED_BETWEEN not in line] == []
