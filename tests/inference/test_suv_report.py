"""``egfr-dls suv``: the document egfr-dls-suv/1, its figures and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import RealWorldValueMappingStorage

from egfr_dls.errors import UsageError
from egfr_dls.refusals import RefusalCode, WarningCode
from inference.suv_command import suv
from inference.suv_report import suv_document
from tests import builders

KEYS = [
    "schema", "study_instance_uid", "series_instance_uid", "status", "refusal", "units", "factor", "factor_source",
    "reference_time", "reference_source", "injection_time", "uptake_minutes", "whole_series", "rois", "series_refused",
    "warnings",
]  # fmt: skip
ROI_KEYS = [
    "label", "number", "source", "voxels", "volume_ml", "suv_min", "suv_median", "suv_mean", "suv_max", "mtv_threshold",
    "mtv_ml", "mtv_suv_mean", "tlg_g",
]  # fmt: skip
SQUARE = [-44.1, -20.1, 16.0, -4.1, -20.1, 16.0, -4.1, 19.9, 16.0, -44.1, 19.9, 16.0]  # 5 x 5 PET voxels of one slice


def rtstruct(images: list[Dataset]) -> Dataset:
    return builders.rtstruct(images, {"lesion": [SQUARE]})


def test_a_measured_series() -> None:
    pet = builders.pet_slices()
    document = suv_document([*pet, rtstruct(pet)])
    assert list(document) == KEYS
    assert (document["schema"], document["status"], document["refusal"]) == ("egfr-dls-suv/1", "measured", None)
    assert document["study_instance_uid"] == builders.STUDY_UID
    assert document["series_instance_uid"] == builders.PET_SERIES_UID
    assert document["factor"] == pytest.approx(builders.SUV_FACTOR, rel=1e-12)
    assert (document["units"], document["factor_source"]) == ("BQML", "formula")
    assert (document["reference_time"], document["reference_source"]) == ("2025-01-02T11:00:00", "series")
    assert (document["injection_time"], document["uptake_minutes"]) == ("2025-01-02T10:00:00", 60.0)
    assert document["whole_series"]["voxels"] == 8 * 16 * 16
    assert (document["series_refused"], document["warnings"]) == ([], [])


def test_the_figures_of_a_region_are_those_of_plain_numpy() -> None:
    pet = builders.pet_slices()
    (roi,) = suv_document([*pet, rtstruct(pet)])["rois"]
    assert list(roi) == ROI_KEYS
    inside = builders.body_suv()[4, 5:10, 2:7].astype(float).ravel()
    hot = inside[inside >= 0.41 * inside.max()]
    voxel_ml = 4 * 8 * 8 / 1000
    expected = {
        "label": "lesion", "number": 1, "source": "RTSTRUCT", "voxels": 25, "volume_ml": 25 * voxel_ml,
        "suv_min": inside.min(), "suv_median": np.median(inside), "suv_mean": inside.mean(), "suv_max": inside.max(),
        "mtv_threshold": 0.41, "mtv_ml": hot.size * voxel_ml, "mtv_suv_mean": hot.mean(),
        "tlg_g": hot.mean() * hot.size * voxel_ml,
    }  # fmt: skip
    assert inside.max() > inside.min()
    for key, value in expected.items():
        assert roi[key] == (value if isinstance(value, str) else pytest.approx(value, abs=2 * builders.SUV_STEP)), key


def test_regions_of_other_images_are_left_out_and_given_ones_are_named() -> None:
    pet = builders.pet_slices()
    foreign = rtstruct(builders.ct_slices(FrameOfReferenceUID="1.2.3.4"))
    foreign.FrameOfReferenceUID = "1.2.3.4"
    assert suv_document([*pet, foreign])["rois"] == []
    document = suv_document(pet, [foreign])
    assert document["status"] == "measured"
    assert [w["code"] for w in document["warnings"]] == [RefusalCode.ROI_REFERENCE_MISSING]


def test_a_region_of_the_ct_is_measured_through_the_frame_of_reference() -> None:
    pet, ct = builders.pet_slices(), builders.ct_slices()
    (roi,) = suv_document([*pet, *ct, rtstruct(ct)])["rois"]
    assert roi["voxels"] == 25


def test_a_region_without_a_voxel_has_null_figures() -> None:
    pet = builders.pet_slices()
    far = builders.rtstruct(pet, {"far": [[v + 900.0 if i % 3 == 0 else v for i, v in enumerate(SQUARE)]]})
    (roi,) = suv_document([*pet, far])["rois"]
    assert list(roi) == ROI_KEYS
    assert (roi["voxels"], roi["suv_max"], roi["tlg_g"]) == (0, None, None)


def test_a_refused_series_keeps_every_key() -> None:
    document = suv_document(builders.pet_slices(PatientWeight=None))
    assert list(document) == KEYS
    assert document["status"] == "refused"
    assert document["refusal"]["code"] == RefusalCode.SUV_NO_WEIGHT
    assert (document["factor"], document["whole_series"], document["rois"]) == (None, None, [])
    assert document["series_instance_uid"] == builders.PET_SERIES_UID


def test_a_refused_series_keeps_the_warnings_that_came_before() -> None:
    document = suv_document(builders.pet_slices(PatientWeight=70000, DecayCorrection="OTHER"))
    assert document["refusal"]["code"] == RefusalCode.SUV_DECAY_UNKNOWN
    assert [w["code"] for w in document["warnings"]] == [WarningCode.SUV_WEIGHT_IN_GRAMS]


def test_enhanced_pet_is_refused_by_name() -> None:
    document = suv_document(builders.pet_slices(SOPClassUID="1.2.840.10008.5.1.4.1.1.130")[:1])
    assert document["refusal"]["code"] == RefusalCode.SUV_SOP_CLASS
    assert "is Enhanced PET Image Storage. Needed: PET Image Storage" in document["refusal"]["message"]


@pytest.mark.parametrize(("off", "warned"), [(1.0, []), (1.02, [WarningCode.SUV_RWV_DISAGREES])])
def test_a_mapping_beside_the_series_is_compared(off: float, warned: list[WarningCode]) -> None:
    pet = builders.pet_slices()
    mapping = builders.base_dataset(RealWorldValueMappingStorage, "RWV", "1.2.3.8", "1.2.3.8.1")
    group, value, image = Dataset(), Dataset(), Dataset()
    value.RealWorldValueSlope = off * builders.SUV_FACTOR
    value.MeasurementUnitsCodeSequence = [builders.code_item(Code("{SUVbw}g/ml", "UCUM", "SUVbw"))]
    image.ReferencedSOPInstanceUID = pet[0].SOPInstanceUID
    group.ReferencedImageSequence, group.RealWorldValueMappingSequence = [image], [value]
    mapping.ReferencedImageRealWorldValueMappingSequence = [group]
    assert [w["code"] for w in suv_document([*pet, mapping])["warnings"]] == warned


def test_a_factor_that_differs_by_slice_is_null() -> None:
    pet = builders.pet_slices(
        DecayCorrection="NONE", CorrectedImage=["ATTN"], AcquisitionTime=lambda i: "1100" if i < 4 else "1110"
    )
    document = suv_document(pet)
    assert (document["status"], document["factor"], document["reference_time"]) == ("measured", None, None)


def test_the_series_asked_for_is_measured_and_others_have_their_reason() -> None:
    pet = builders.pet_slices()
    nac = builders.pet_slices(series_uid="1.2.3.9", Units="PROPCNTS", AttenuationCorrectionMethod=None)
    document = suv_document([*pet, *nac])
    assert document["series_instance_uid"] == builders.PET_SERIES_UID
    (refused,) = document["series_refused"]
    assert list(refused) == ["series_instance_uid", "modality", "code", "message"]
    assert (refused["series_instance_uid"], refused["code"]) == ("1.2.3.9", RefusalCode.PET_NOT_ATTENUATION_CORRECTED)
    asked = suv_document([*pet, *nac], series_uid="1.2.3.9")
    assert (asked["status"], asked["refusal"]["code"]) == ("refused", RefusalCode.PET_NOT_ATTENUATION_CORRECTED)


def test_two_series_are_ambiguous_until_one_is_named() -> None:
    both = [*builders.pet_slices(), *builders.pet_slices(series_uid="1.2.3.9")]
    assert suv_document(both)["refusal"]["code"] == RefusalCode.SERIES_AMBIGUOUS
    assert suv_document(both, series_uid="1.2.3.9")["status"] == "measured"
    with pytest.raises(UsageError, match=builders.PET_SERIES_UID):
        suv_document(both, series_uid="1.2.3.4")


def test_a_phantom_of_another_isotope_is_measured_where_asked() -> None:
    pet = builders.pet_slices(QualityControlImage="YES")
    for ds in pet:
        dose = ds.RadiopharmaceuticalInformationSequence[0]
        dose.RadionuclideHalfLife, dose.Radiopharmaceutical = 4062.6, "Ga-68 solution"
        del dose.RadiopharmaceuticalCodeSequence
    assert suv_document(pet)["refusal"]["code"] == RefusalCode.SUV_NOT_F18
    document = suv_document(pet, any_isotope=True)
    assert document["status"] == "measured"
    assert [w["code"] for w in document["warnings"]] == [RefusalCode.NOT_FDG]


# --- the command ------------------------------------------------------------------------------------------------------


def saved(folder: Path, datasets: list[Dataset]) -> Path:
    folder.mkdir(exist_ok=True)
    for i, ds in enumerate(datasets):
        (folder / f"{len(list(folder.iterdir()))}-{i}").write_bytes(builders.to_part10(ds))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(suv, [str(a) for a in arguments], standalone_mode=False)


def test_json_is_one_document_on_standard_output(tmp_path: Path) -> None:
    pet = builders.pet_slices()
    result = run(saved(tmp_path / "study", [*pet, rtstruct(pet)]), "--json", "--mtv-threshold", "0.5")
    assert result.exception is None
    document = json.loads(result.stdout)
    assert list(document) == KEYS
    assert document["rois"][0]["mtv_threshold"] == 0.5
    assert "9 DICOM objects read" in result.stderr


def test_a_table_without_json(tmp_path: Path) -> None:
    pet = builders.pet_slices()
    result = run(saved(tmp_path / "study", [*pet, rtstruct(pet)]))
    assert result.exception is None
    for words in ("whole series", "lesion", builders.PET_SERIES_UID):
        assert words in result.stdout


def test_a_refusal_is_printed_and_ends_with_3(tmp_path: Path) -> None:
    folder = saved(tmp_path / "study", builders.pet_slices(PatientWeight=None))
    for arguments in ([], ["--json"]):
        result = run(folder, *arguments)
        assert result.exit_code == 3
        assert "SUV_NO_WEIGHT" in result.stdout
    assert json.loads(result.stdout)["status"] == "refused"


def test_roi_files_beat_what_the_path_holds(tmp_path: Path) -> None:
    pet = builders.pet_slices()
    folder = saved(tmp_path / "study", [*pet, rtstruct(pet)])
    other = saved(tmp_path / "other", [builders.rtstruct(pet, {"other": [SQUARE]})])
    document = json.loads(run(folder, "--json", "--roi", other).stdout)
    assert [r["label"] for r in document["rois"]] == ["other"]


def test_wrong_paths_are_usage_errors(tmp_path: Path) -> None:
    study = saved(tmp_path / "study", builders.pet_slices())
    saved(study, [builders.secondary_capture(StudyInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.5")])
    several = run(study)
    assert isinstance(several.exception, UsageError)
    assert "2 studies" in str(several.exception)
    missing = run(tmp_path / "nowhere")
    assert isinstance(missing.exception, UsageError)
    no_roi = run(saved(tmp_path / "pet", builders.pet_slices()), "--roi", tmp_path / "pet")
    assert isinstance(no_roi.exception, UsageError)
    assert "no SEG or RTSTRUCT" in str(no_roi.exception)


# --- reference data ---------------------------------------------------------------------------------------------------


def measured(*arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return document


# Units and factor of each reference object, and the smallest value where its own quantisation limits it: 0.2 is 1051.66
# of DRO_3_1's stored units of 1.9e-4, of which the file holds 1051.
REFERENCE_OBJECTS: dict[str, tuple[str, float, str, float]] = {
    "DRO_0_0": ("BQML", 0.000277778125, "formula", 0.2),
    "DRO_1_0": ("BQML", 0.000277778125, "formula", 0.2),
    "DRO_2_0": ("GML", 1.0, "stored_suv", 0.2),
    "DRO_2_4": ("CNTS", 0.0005, "philips_suv", 0.2),
    "DRO_3_1": ("BQML", 0.000190176049, "formula", 1051 * 70 / 368_080),
    "DRO_4_1": ("BQML", 0.000277778125, "formula", 0.2),
}


@pytest.mark.shared_data
@pytest.mark.parametrize("name", REFERENCE_OBJECTS)
def test_reference_objects(shared_data: Path, name: str) -> None:
    """0.20, 1.00 and 4.00; the 515 voxels of the hottest level are the metabolic volume."""
    units, factor, source, least = REFERENCE_OBJECTS[name]
    document = measured(shared_data / "suv_dro" / name)
    assert (document["units"], document["factor_source"]) == (units, source)
    assert document["factor"] == pytest.approx(factor, rel=1e-8)
    expected = [WarningCode.SUV_PRIVATE_CREATOR_MISSING] if name == "DRO_2_4" else []
    assert [w["code"] for w in document["warnings"]] == expected
    (roi,) = document["rois"]
    assert (roi["label"], roi["number"], roi["source"], roi["voxels"]) == ("region_1", 3, "RTSTRUCT", 174_691)
    assert roi["suv_min"] == pytest.approx(least, abs=1e-6)
    assert (roi["suv_min"], roi["suv_median"], roi["suv_max"]) == pytest.approx((0.2, 1.0, 4.0), abs=2e-4)
    if least == 0.2:
        assert (roi["suv_min"], roi["suv_median"], roi["suv_max"]) == pytest.approx((0.2, 1.0, 4.0), abs=1e-5)
    assert roi["mtv_threshold"] == 0.41
    assert roi["mtv_ml"] == pytest.approx(515 * 0.064)
    assert roi["tlg_g"] == pytest.approx(4.0 * roi["mtv_ml"], rel=1e-4)


@pytest.mark.shared_data
def test_lung_study(shared_data: Path) -> None:
    document = measured(shared_data / "petct_lung_acrin042")
    assert document["factor"] == pytest.approx(0.00042111007, rel=1e-8)
    assert document["whole_series"]["suv_max"] == pytest.approx(51.09, abs=0.005)
    assert {w["code"] for w in document["warnings"]} == {
        WarningCode.SUV_UPTAKE_UNUSUAL, WarningCode.SUV_REFERENCE_DIFFERS, WarningCode.SUV_GE_DATE_IMPLAUSIBLE
    }  # fmt: skip
    assert [s["code"] for s in document["series_refused"]] == [RefusalCode.PET_NOT_ATTENUATION_CORRECTED]
    tumour = document["rois"][0]
    assert (tumour["label"], tumour["voxels"], tumour["source"]) == ("pt_segment_1", 2548, "SEG")
    assert tumour["suv_max"] == pytest.approx(42.22, abs=0.005)
    assert tumour["suv_mean"] == pytest.approx(5.22, abs=0.005)
    assert [r["voxels"] for r in document["rois"]][:3] == [2548, 23_730, 118_130]


@pytest.mark.shared_data
def test_lung_study_without_attenuation_correction_is_refused(shared_data: Path) -> None:
    document = measured(shared_data / "petct_lung_acrin042" / "PT_PET_NAC_462754")
    assert document["refusal"]["code"] == RefusalCode.PET_NOT_ATTENUATION_CORRECTED


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("patient", "volume_ml", "suv_max", "suv_mean"),
    [("STS_002", 54.3, 21.68, 7.37), ("STS_006", 259.3, 26.65, 7.86), ("STS_012", 78.9, 5.386, 2.90)],
)
def test_sarcoma_studies(shared_data: Path, patient: str, volume_ml: float, suv_max: float, suv_mean: float) -> None:
    folder = shared_data / "pet_rtstruct_sts" / patient / "PET"
    (roi,) = measured(folder)["rois"]
    assert roi["label"] == "GTV_Mass_PET"
    assert roi["volume_ml"] == pytest.approx(volume_ml, rel=0.03)
    assert roi["suv_max"] == pytest.approx(suv_max, abs=0.006)
    assert roi["suv_mean"] == pytest.approx(suv_mean, abs=0.006)
