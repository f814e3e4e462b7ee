"""Patient, study, series and equipment attributes: the same in every object, whatever the source's header holds."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.valuerep import PersonName

from egfr_dls.uids import CODING_SCHEME_UID, series_uid
from reporting.build import to_bytes
from reporting.context import Revision
from reporting.source_header import SourceImages, patient_and_study
from tests.builders import pet_slices, to_part10
from tests.reporting.report_cases import (
    MODEL,
    NOW,
    VARIANTS,
    Case,
    demonstration,
    headers,
    items,
    name_of,
    refused,
    scored,
    source_images,
)

LONG = "Ω".join("ABCDEFGHIJKLMNOP" * 4)[:64]  # what a component group may hold at most (PS3.5 6.2)
NAMES = {  # PatientName and StudyDescription in a character set
    "latin-1": ("ISO_IR 100", "Müller^Jörg^É", "Thorax, größer"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部PET検査"),
    "Japanese, half-width": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "胸部"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "흉부"),
    "Chinese": ("GB18030", "Wang^XiaoDong=王^小东", "胸部扫描"),
    "Greek, three groups of 64 characters": ("ISO_IR 192", f"{LONG}={LONG}={LONG}", "Ω" * 64),
    "none": (None, "PLAIN^NAME", "CHEST"),
}


def read_back(case: Case) -> dict[str, Dataset]:
    return {kind: dcmread(io.BytesIO(to_bytes(made))) for kind, made in case.build().items()}


def with_reference(case: Case, reference: Dataset) -> Case:
    return replace(case, sources=SourceImages(case.sources.images, reference))


@pytest.mark.parametrize("name", NAMES)
def test_names_in_every_character_set_arrive_in_every_object(name: str) -> None:
    character_set, patient_name, description = NAMES[name]
    source = pet_slices(
        PatientName=patient_name, SpecificCharacterSet=character_set, StudyDescription=description
    )[0]  # fmt: skip
    reference = dcmread(io.BytesIO(to_part10(source)), stop_before_pixels=True)
    everything = scored().wanting(pages=True, maps=True, pdf=True)
    for ds in read_back(with_reference(everything, reference)).values():
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert str(ds.PatientName) == patient_name
        assert ds.StudyDescription == description


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>^\"'&",
        "A" * 300,
        "^^^^^^^^^",
        "../../etc/passwd^%s%n$HOME",
        "line\r\nbreak^\x1b[31mred",
        "O'Brien^\u202eevil",
        "^".join(["C" * 64] * 5),
        "=",
        "",
    ],
)
def test_a_hostile_patient_name_never_stands_between_a_study_and_its_report(hostile: str) -> None:
    """An archive files by the name, so it is kept as it came, even where the VR would not allow it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pet_slices(SpecificCharacterSet="ISO_IR 192")[0]
        source.PatientName = PersonName(hostile, encodings=["utf-8"])
        reference = dcmread(io.BytesIO(to_part10(source)), stop_before_pixels=True)
        arrived = str(reference.PatientName)
        assert arrived == hostile.rstrip("=")
        for case in (scored(), refused()):
            names = {str(ds.PatientName) for ds in read_back(with_reference(case, reference)).values()}
            assert names == {arrived}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyID", "STS_002_1234567890"),  # 18 characters, SH allows 16
        ("PatientSex", "U"),
        ("PatientBirthDate", "1960-01-01"),
        ("StudyTime", "noon"),
        ("AccessionNumber", "A" * 17),
    ],
)
def test_an_invalid_value_is_left_empty_where_the_attribute_must_stand(keyword: str, value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = source_images(**{keyword: value}).reference
    for ds in read_back(with_reference(scored(), reference)).values():
        assert not ds[keyword].value


@pytest.mark.parametrize(
    "keyword", ["AccessionNumber", "StudyID", "StudyDate", "PatientName", "PatientBirthDate", "PatientSex", "PatientID"]
)
def test_an_absent_type_2_attribute_is_written_empty(keyword: str) -> None:
    for ds in read_back(with_reference(refused(), source_images(**{keyword: None}).reference)).values():
        assert keyword in ds
        assert not ds[keyword].value


def test_a_decimal_string_that_cannot_be_read_is_left_out() -> None:
    reference = source_images().reference
    raw = dcmread(io.BytesIO(to_part10(pet_slices(PatientWeight=None)[0])), stop_before_pixels=True)
    raw.add_new(0x00101030, "LO", "70,5 kg")
    assert "PatientWeight" in raw
    assert "PatientWeight" not in patient_and_study(raw)
    assert "PatientWeight" in patient_and_study(reference)


def test_patient_and_study_attributes_are_equal_in_every_object() -> None:
    objects = read_back(scored().with_pages())
    assert len(objects) == 3
    for keyword in ("PatientName", "PatientID", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyID"):
        assert len({str(ds.get(keyword)) for ds in objects.values()}) == 1, keyword
    assert objects["roi"].PatientWeight == 70


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_names_the_device_its_digest_and_our_codes(variant: str) -> None:
    case = VARIANTS[variant]()
    for ds in read_back(case).values():
        assert ds.Manufacturer == "egfr-dls"
        assert ds.ManufacturerModelName == "EGFR-DLS PET/CT"
        assert ds.DeviceSerialNumber == "ab" * 8
        assert ds.CodingSchemeIdentificationSequence[0].CodingSchemeUID == CODING_SCHEME_UID
        ours = [item for item in ds.ContributingEquipmentSequence if "DeviceUID" in item]
        assert "ab" * 32 in ours[0].ContributionDescription
        assert {i.ContributionDateTime for i in ds.ContributingEquipmentSequence} == {"20250102123015.000000"}


def test_a_network_is_one_piece_of_equipment_in_header_and_tree() -> None:
    """The Device UID of a contribution is the Device Observer UID; the whole digest stands where it has room."""
    ds = read_back(scored())["report"]
    egfr, pdl1 = (item for item in ds.ContributingEquipmentSequence if "DeviceUID" in item)
    (observer,) = (item for item in items(ds) if name_of(item) == "121012")
    assert egfr.DeviceUID == observer.UID != pdl1.DeviceUID
    assert (egfr.Manufacturer, egfr.DeviceSerialNumber) == ("egfr-dls", "ab" * 8)
    assert list(egfr.SoftwareVersions) == ["0.1.0", "egfr-test 1.2.0", f"sha256:{'ab' * 12}"]
    assert pdl1.ContributionDescription.endswith(f"sha256 {'cd' * 32}")
    assert egfr.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    (library,) = ds.ContributingEquipmentSequence[2:]
    assert "highdicom" in str(library.ManufacturerModelName).lower()


def test_the_report_claims_no_performed_step_and_names_the_procedure() -> None:
    ds = read_back(scored())["report"]
    assert len(ds.ReferencedPerformedProcedureStepSequence) == 0
    assert ds.PerformedProcedureCodeSequence[0].CodeValue == "443271005"


def test_what_is_drawn_says_how_and_from_what_and_claims_no_scale() -> None:
    everything = read_back(scored().wanting(pages=True, maps=True))
    pages, roi = everything["pages"], everything["roi"]
    assert list(pages.ImageType) == ["DERIVED", "SECONDARY"]
    assert pages.FrameIncrementPointer == 0x00182001
    assert {i.PurposeOfReferenceCodeSequence[0].CodeValue for i in pages.SourceImageSequence} == {"121322"}
    assert (pages.RecognizableVisualFeatures, pages.PhotometricInterpretation) == ("NO", "RGB")
    assert not {"NominalScannedPixelSpacing", "PixelSpacing"} & set(pages.dir())
    assert {everything[kind].BodyPartExamined for kind in ("pages", "roi", "map")} == {"CHEST"}
    assert roi.ContentLabel == "EGFR_DLS_ROI"
    assert roi.SegmentSequence[0].AnatomicRegionSequence[0].CodeValue == "39607008"


def test_every_object_of_a_revision_has_its_number() -> None:
    case = replace(scored().wanting(pages=True, maps=True, pdf=True), revision=Revision(3))
    assert {kind: int(ds.InstanceNumber) for kind, ds in read_back(case).items()} == dict.fromkeys(
        ("roi", "report", "pages", "map", "pdf"), 3
    )


def test_series_attributes_are_those_of_the_first_object_of_the_series() -> None:
    begun = NOW - timedelta(days=3)
    case = replace(scored(), revision=Revision(2, None, {"report": begun}))
    objects = read_back(case)
    assert (objects["report"].SeriesDate, objects["report"].ContentDate) == ("20241230", "20250102")
    assert objects["roi"].SeriesDate == "20250102"


def test_kinds_have_fixed_series_and_numbers() -> None:
    case = scored().with_pages()
    for kind, ds in read_back(case).items():
        expected = series_uid(case.findings.study_instance_uid, "pet_ct_egfr", kind, demonstration=False)
        assert ds.SeriesInstanceUID == expected
    assert [int(ds.SeriesNumber) for ds in read_back(case).values()] == [9001, 9000, 9002]


def test_every_object_of_a_demonstration_network_says_so_and_has_its_own_series() -> None:
    real, shown = scored().with_pages(), demonstration(scored()).with_pages()
    for (kind, ds), other in zip(read_back(shown).items(), read_back(real).values(), strict=True):
        assert ds.SeriesDescription == "EGFR-DLS DEMONSTRATION, not a patient result", kind
        assert ds.SeriesInstanceUID != other.SeriesInstanceUID
        assert "DEMONSTRATION" not in other.SeriesDescription


def test_the_send_order_is_seg_report_pages() -> None:
    assert list(scored().with_pages().build()) == ["roi", "report", "pages"]
    assert list(refused().with_pages().build()) == ["report", "pages"]
    assert list(refused().build()) == ["report"]


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs_sha256": "99" * 32},
        {"configuration_sha256": "99" * 32},
        {"product_version": "9.9.9"},
        {"model": None},
        {"companion_model": None},
        {"model": replace(MODEL, preprocessing_sha256="99" * 32)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_whatever_ends_in_the_bytes_changes_the_uid(changes: dict[str, Any]) -> None:
    assert scored(**changes).build()["report"].sop_instance_uid != scored().build()["report"].sop_instance_uid


def test_the_uid_does_not_depend_on_the_time() -> None:
    case = scored()
    later = replace(case, revision=Revision(1, None, {"report": datetime(2030, 1, 1)}))  # noqa: DTZ001
    assert later.build()["report"].sop_instance_uid == case.build()["report"].sop_instance_uid


@pytest.mark.shared_data
def test_a_real_header_with_an_overlong_study_id_is_reported_without_it(shared_data: Path) -> None:
    folder = shared_data / "pet_rtstruct_sts"
    path = next(p for p in sorted(folder.rglob("*.dcm")) if dcmread(p, specific_tags=["Modality"]).Modality == "PT")
    reference = dcmread(path, stop_before_pixels=True)
    case = replace(refused(), sources=SourceImages(headers([reference]), reference))
    ds = read_back(case)["report"]
    assert str(ds.PatientID) == str(reference.PatientID)
    assert len(ds.StudyID or "") <= 16
