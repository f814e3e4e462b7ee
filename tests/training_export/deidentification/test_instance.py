"""An object without its patient: nothing planted is left, references hold, days move together, SUV stays the same."""

from __future__ import annotations

from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLSLossless

from egfr_dls.errors import StudyRefusedError
from inference.imaging.suv import assess_suv
from inference.read.pet import pet_slices as typed_slices
from inference.read.series import group_series
from tests.builders import ct_slices, pet_slices, rtstruct, secondary_capture, to_part10
from tests.reporting.validators import need, remarks
from tests.system.study_data import of_modality
from tests.training_export.cohorts import KEPT_TEXT, PLANTED, PRIVATE_TEXT, SECRETS, found_secrets, plant, planted_study
from training_export.cohort.key import LEAST_DAYS, MOST_DAYS, CohortKey
from training_export.deidentification.instance import Deidentifier
from training_export.deidentification.pixels import burned_in
from training_export.deidentification.rules import METHODS, RULES, Action
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import make_phantom

KEY = CohortKey.of_site(b"k" * 32)
PATIENT = KEY.patient("", "1")

# PS3.15 2024b Table E.1-1 of every attribute in ``RULES`` that it lists: the basic profile's action code. An option that
# we declare may keep it instead: R113107 dates and times, R113108 the patient's characteristics, R113109 the device.
TABLE_E_1_1 = {
    "AccessionNumber": "Z", "AcquisitionDate": "X/Z", "AcquisitionDateTime": "X/Z/D", "AcquisitionTime": "X/Z",
    "CassetteID": "X", "ContentCreatorName": "Z/D", "ContentDate": "Z/D", "ContentTime": "Z/D", "ContrastBolusAgent": "Z/D",
    "DateOfLastCalibration": "X", "DateOfLastDetectorCalibration": "X/D", "DecayCorrectionDateTime": "D",
    "DetectorID": "X/D", "DeviceSerialNumber": "X/Z/D", "DeviceUID": "U", "DimensionOrganizationUID": "U",
    "FrameOfReferenceUID": "U", "GantryID": "X", "GeneratorID": "X", "InstanceCreationDate": "X/D",
    "InstanceCreationTime": "X/Z/D", "OperatorsName": "X/Z/D",
    "ManufacturerDeviceClassUID": "U", "PatientAge": "X", "PatientBirthDate": "Z",
    "PatientID": "Z/D", "PatientName": "Z", "PatientSex": "Z", "PatientSize": "X", "PatientWeight": "X", "PlateID": "X",
    "ROIInterpreter": "Z", "ROIName": "Z", "RadiopharmaceuticalStartDateTime": "X", "RadiopharmaceuticalStartTime": "X",
    "RadiopharmaceuticalStopDateTime": "X", "RadiopharmaceuticalStopTime": "X", "ReferencedFrameOfReferenceUID": "U",
    "ReferencedSOPInstanceUID": "U", "ReferringPhysicianName": "Z", "ReviewDate": "Z", "ReviewTime": "Z",
    "ReviewerName": "X/Z", "SOPInstanceUID": "U", "SeriesDate": "X/D", "SeriesInstanceUID": "U", "SeriesTime": "X/D",
    "SourceImageSequence": "X/Z/U*", "StationName": "X/Z/D", "StructureSetDate": "Z", "StructureSetLabel": "D",
    "StructureSetTime": "Z", "StudyDate": "Z", "StudyID": "Z", "StudyInstanceUID": "U", "StudyTime": "Z",
    "TimeOfLastCalibration": "X", "TimeOfLastDetectorCalibration": "X/D", "TrackingUID": "U", "UniqueDeviceIdentifier": "X",
}  # fmt: skip
R113108 = {"PatientSex", "PatientSize", "PatientWeight", "PatientAge"}
R113109 = {
    "CassetteID", "DetectorID", "DeviceSerialNumber", "DeviceUID", "GantryID", "GeneratorID", "ManufacturerDeviceClassUID",
    "PlateID", "StationName", "TimeOfLastCalibration", "TimeOfLastDetectorCalibration", "UniqueDeviceIdentifier",
}  # fmt: skip
WITHOUT_OPTION = {
    "Z": {Action.EMPTY, Action.PATIENT, Action.REGION},
    "Z/D": {Action.EMPTY, Action.PATIENT},
    "X/Z": {Action.EMPTY},
    "X/Z/D": {Action.EMPTY},
    "D": {Action.FIXED},
    "U": {Action.UID},
    "X/Z/U*": {Action.ITEMS},
}
# Texts that Table E.1-1 does not list and that stay: of the machine, its method or a code
TEXTS_THAT_STAY = {
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "PositionReferenceIndicator", "AttenuationCorrectionMethod",
    "ScatterCorrectionMethod", "ReconstructionMethod", "ConvolutionKernel", "FilterType", "Radiopharmaceutical", "RescaleType",
    "CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "StackID",
}  # fmt: skip


def clean(ds: Dataset, **regions: int) -> Dataset:
    """De-identify and read back what would be written."""
    del regions
    return read(to_part10(Deidentifier(KEY, PATIENT, {}).clean(ds)))


def read(data: bytes) -> Dataset:
    """Read Part 10 bytes."""
    import io

    return dcmread(io.BytesIO(data))


def test_nothing_that_was_planted_is_left_in_any_kind_of_object() -> None:
    study = planted_study(1)
    contours = rtstruct(
        of_modality(study, "CT"), {"GTV Zwingenberger": [[-30, -6, 16, -18, -6, 16, -18, 6, 16, -30, 6, 16]]}, **PLANTED
    )
    plant(contours)
    contours.StructureSetLabel = "Zwingenberger"
    contours.StructureSetROISequence[0].ROIDescription = "drawn by Kritzelmeier"
    seg = of_modality(study, "SEG")[0]
    seg.SegmentSequence[0].SegmentLabel = "Tumor of Zwingenberger"
    files = {str(i): to_part10(Deidentifier(KEY, PATIENT, {}).clean(ds)) for i, ds in enumerate([*study, contours])}
    assert found_secrets(files, SECRETS) == []
    uids = {str(element.value) for ds in study for element in ds.iterall() if element.VR == "UI"}
    own = [uid for uid in uids if not uid.startswith("1.2.840.10008.")]
    assert len(own) > 10
    assert found_secrets(files, own) == []


def test_a_planted_secret_is_found_where_it_is_left() -> None:
    """The search above can fail: the objects as received hold every secret."""
    files = {str(i): to_part10(ds) for i, ds in enumerate(planted_study(1))}
    assert {secret for _, secret in found_secrets(files, SECRETS)} >= {PRIVATE_TEXT, KEPT_TEXT, "MRN-58812077"}


@pytest.mark.parametrize("keyword", sorted(RULES))
def test_what_table_e_1_1_lists_stays_by_its_code_or_by_an_option_that_is_declared(keyword: str) -> None:
    action, vr = RULES[keyword], dictionary_VR(tag_for_keyword(keyword) or 0)
    code = TABLE_E_1_1.get(keyword)
    if code is None:
        assert vr not in ("PN", "DA", "DT", "UI", "LT", "ST", "UT") or keyword in {
            "SOPClassUID", "ReferencedSOPClassUID"
        } or action is not Action.KEEP, "a name, a day, a UID or a long text that Table E.1-1 forgot"  # fmt: skip
        if vr in ("LO", "SH", "UC") and action is Action.KEEP:
            assert keyword in TEXTS_THAT_STAY
    elif vr in ("DA", "DT"):
        assert action in (Action.DATE, Action.EMPTY)
    elif vr == "TM":
        assert action is Action.KEEP  # days are moved as wholes, so that uptake times hold
    elif keyword in R113108 | R113109:
        assert action in (Action.KEEP, Action.AGE)
    else:
        assert action in WITHOUT_OPTION[code]


def test_it_says_what_was_done() -> None:
    """PS3.15 E.1.1 with PS3.3 C.7.1.1 and C.12.1: the attributes that a de-identified object must have."""
    cleaned = clean(planted_study(1)[0])
    assert cleaned.PatientIdentityRemoved == "YES"
    assert [(c.CodeValue, c.CodingSchemeDesignator) for c in cleaned.DeidentificationMethodCodeSequence] == [
        (value, "DCM") for value, _ in METHODS
    ]
    assert cleaned.LongitudinalTemporalInformationModified == "MODIFIED"
    assert (cleaned.PatientID, str(cleaned.PatientName), cleaned.PatientBirthDate) == (PATIENT, PATIENT, "")


def test_uids_are_the_same_wherever_they_stand_and_others_under_another_key() -> None:
    study = planted_study(1)
    ct, seg = clean(of_modality(study, "CT")[0]), clean(of_modality(study, "SEG")[0])
    assert ct.FrameOfReferenceUID == seg.FrameOfReferenceUID
    assert ct.SeriesInstanceUID == seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    assert ct.file_meta.MediaStorageSOPInstanceUID == ct.SOPInstanceUID
    assert str(ct.SOPInstanceUID).startswith("2.25.") and len(ct.SOPInstanceUID) <= 64
    other = Deidentifier(CohortKey.of_site(b"other" * 8), PATIENT, {}).clean(of_modality(study, "CT")[0])
    assert other.SOPInstanceUID != ct.SOPInstanceUID


def test_all_days_of_a_patient_move_alike_and_times_stay() -> None:
    given = pet_slices(StudyDate="20250101", AcquisitionDate="20250102")[0]
    cleaned = clean(given)
    moved = date(2025, 1, 2) - _day(cleaned.AcquisitionDate)
    assert timedelta(LEAST_DAYS) <= moved <= timedelta(MOST_DAYS)
    assert _day(cleaned.AcquisitionDate) - _day(cleaned.StudyDate) == timedelta(1)
    isotope = cleaned.RadiopharmaceuticalInformationSequence[0]
    assert isotope.RadiopharmaceuticalStartDateTime == f"{cleaned.AcquisitionDate}100000"
    assert (cleaned.AcquisitionTime, isotope.RadiopharmaceuticalStartTime) == ("110000", "100000")
    assert KEY.moved(date(2025, 1, 2), "P1") != KEY.moved(date(2025, 1, 2), "P2")


def test_a_date_that_is_none_goes() -> None:
    given = pet_slices()[0]
    given.add_new("AcquisitionDate", "DA", "")
    given["AcquisitionDate"]._value = "ZWINGENBERGER"
    cleaned = Deidentifier(KEY, PATIENT, {}).clean(given)
    assert cleaned.AcquisitionDate == ""


def test_suv_is_that_of_the_original() -> None:
    original = pet_slices()
    cleaned = [clean(ds) for ds in original]
    factors = [
        list(assess_suv(typed_slices(group_series(study)[0])).scale.factors.values()) for study in (original, cleaned)
    ]
    assert factors[0] == factors[1]


@pytest.mark.parametrize(
    ("tag", "creator", "vr", "value", "kept"),
    [
        (0x70531000, "Philips PET Private Group", "DS", "0.000551", "0.000551"),
        (0x70531009, "Philips PET Private Group", "DS", "1.25", "1.25"),
        (0x70531000, "Philips PET Private Group", "DS", "Zwingenberger", None),
        (0x70531001, "Philips PET Private Group", "DS", "1.25", None),
        (0x70531000, "SOMEBODY ELSE", "DS", "0.000551", None),
    ],
)
def test_private_elements_of_suv_stay_where_they_hold_numbers(
    tag: int, creator: str, vr: str, value: str, kept: str | None
) -> None:
    ds = pet_slices()[0]
    block = ds.private_block(tag >> 16, creator, create=True)
    block.add_new(tag & 0xFF, vr, "1")
    block[tag & 0xFF]._value = value
    cleaned = Deidentifier(KEY, PATIENT, {}).clean(ds)
    held = {
        element.tag: str(element.value)
        for element in cleaned
        if element.tag.is_private and not element.tag.is_private_creator
    }
    assert held == ({} if kept is None else {tag: kept})


def test_the_scan_time_of_ge_moves_with_the_dates() -> None:
    ds = pet_slices()[0]
    ds.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20250102110000.00")
    cleaned = clean(ds)
    assert cleaned[0x0009100D].value == f"{cleaned.AcquisitionDate}110000.00"


def test_bits_and_bytes_beside_the_pixels_stay_behind() -> None:
    """PS3.5 8.1.2: an overlay may lie in the bits above Bits Stored; a compressed stream may hold comments."""
    ds = ct_slices(BitsStored=12, HighBit=11)[0]
    values = np.frombuffer(ds.PixelData, "<u2")
    ds.PixelData = (values | 0x8000).astype("<u2").tobytes() + b"ZWINGENBERGER^HEDWIG"
    cleaned = clean(ds)
    assert np.array_equal(np.frombuffer(cleaned.PixelData, "<u2"), values)


def test_compressed_pixels_are_stored_anew() -> None:
    ds = ct_slices()[0]
    values = ds.pixel_array.copy()
    ds.compress(JPEGLSLossless, encoding_plugin="pyjpegls")
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame.replace(b"\xff\xd8", b"\xff\xd8\xff\xfe\x00\x0fZWINGENBERGER", 1)])
    assert np.array_equal(ds.pixel_array, values)
    data = to_part10(Deidentifier(KEY, PATIENT, {}).clean(ds))
    assert np.array_equal(read(data).pixel_array, values)
    assert b"ZWINGENBERGER" not in data


def test_pixels_that_cannot_be_decoded_are_not_copied() -> None:
    ds = ct_slices()[0]
    ds.PixelData = b"\0" * 10
    with pytest.raises(StudyRefusedError, match="PIXELS_UNREADABLE"):
        clean(ds)


def test_numbers_times_and_uids_that_hold_text_go() -> None:
    ds = ct_slices()[0]
    for keyword, vr in (("KVP", "DS"), ("SeriesNumber", "IS"), ("SeriesTime", "TM"), ("DeviceUID", "UI")):
        ds.add_new(keyword, vr, "110000")
        ds[keyword]._value = "HEDWIG"
    ds.add_new("Rows", "LT", "HEDWIG was here")  # an explicit VR that is not the dictionary's
    cleaned = Deidentifier(KEY, PATIENT, {}).clean(ct_slices()[0])
    assert "Rows" in cleaned
    cleaned = Deidentifier(KEY, PATIENT, {}).clean(_without_pixels(ds))
    assert not {"KVP", "SeriesNumber", "SeriesTime", "DeviceUID", "Rows"} & {e.keyword for e in cleaned}


def test_a_text_that_stays_holds_no_id_and_no_institution_and_a_short_id_harms_no_term() -> None:
    ds = ct_slices(PatientID="CT-0042", InstitutionName="Klinikum Seestadt", PatientName="LI^CT")[0]
    ds.StationName, ds.SoftwareVersions, ds.ManufacturerModelName = "WSCT-0042X", ["seestadt 5", "7.1"], "Model Li 3"
    cleaned = clean(ds)
    assert (cleaned.StationName, list(cleaned.SoftwareVersions)) == ("REMOVED", ["REMOVED", "7.1"])
    assert (cleaned.ManufacturerModelName, cleaned.Modality, cleaned.BodyPartExamined) == ("REMOVED", "CT", "CHEST")


def test_the_meaning_of_a_local_code_goes() -> None:
    ds = pet_slices()[0]
    item = ds.RadiopharmaceuticalInformationSequence[0]
    local = Dataset()
    local.CodeValue, local.CodingSchemeDesignator, local.CodeMeaning = "F1", "99SEESTADT", "FDG of Seestadt"
    item.RadionuclideCodeSequence = [local]
    cleaned = clean(ds).RadiopharmaceuticalInformationSequence[0]
    assert cleaned.RadionuclideCodeSequence[0].CodeMeaning == "local code"
    assert cleaned.RadiopharmaceuticalCodeSequence[0].CodeMeaning == "Fluorodeoxyglucose F^18^"


@pytest.mark.parametrize(("stated", "kept"), [("064Y", "064Y"), ("090Y", "090Y"), ("103Y", "090Y"), ("x", "")])
def test_ages_above_89_are_one(stated: str, kept: str) -> None:
    ds = ct_slices()[0]
    ds.add_new("PatientAge", "AS", "001Y")
    ds["PatientAge"]._value = stated
    assert Deidentifier(KEY, PATIENT, {}).clean(ds).PatientAge == kept


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "BURNED_IN_ANNOTATION"),
        ({}, None),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "BURNED_IN_LIKELY"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "BurnedInAnnotation": "NO"}, None),
        ({"Modality": "US"}, "BURNED_IN_LIKELY"),
    ],
)
def test_images_that_may_show_the_patient_are_told(attributes: dict[str, Any], reason: str | None) -> None:
    ds = ct_slices()[0]
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    assert burned_in(ds) == reason


def test_a_secondary_capture_is_suspected_unless_it_says_no() -> None:
    assert burned_in(secondary_capture()) == "BURNED_IN_LIKELY"
    assert burned_in(secondary_capture(BurnedInAnnotation="NO")) is None


@pytest.mark.dicom3tools
@pytest.mark.parametrize("kind", [RoiKind.SEG, RoiKind.RTSTRUCT])
def test_dciodvfy_says_no_more_of_the_copy_than_of_the_original(kind: RoiKind, tmp_path: Path) -> None:
    tool = need("dciodvfy")
    named = phantom_datasets(make_phantom(3), kind)
    for name in ("ct-0001.dcm", "pt-0001.dcm", f"{kind}.dcm"):
        before, after = tmp_path / f"before-{name}", tmp_path / f"after-{name}"
        before.write_bytes(to_part10(deepcopy(named[name])))
        after.write_bytes(to_part10(Deidentifier(KEY, PATIENT, {}).clean(named[name])))
        errors = [{line for line in remarks(tool, p) if line.startswith("Error")} for p in (before, after)]
        assert errors[1] - errors[0] == set(), name


def _day(value: str) -> date:
    return date(int(value[:4]), int(value[4:6]), int(value[6:8]))


def _without_pixels(ds: Dataset) -> Dataset:
    del ds.PixelData
    return ds
