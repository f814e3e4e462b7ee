"""Whole studies whose grids lie oblique, differ in extent, or have no frame of reference in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from skimage.measure import find_contours

from egfr_dls import settings
from egfr_dls.findings import StudyFindings
from egfr_dls.settings import Settings
from egfr_dls.volume import Mask
from inference.biomarkers.registry import BIOMARKERS, load_scorers
from inference.engine.gate import Scorer
from inference.imaging.registration import register
from inference.roi.stored_search import search_stored
from inference.study_analysis import analyse_study
from tests.builders import rtstruct
from tests.inference.motion import Motion
from tests.inference.packages import network, write_package
from tests.system.study_data import of_modality, small_study
from training_export.phantom_dicom import phantom_datasets
from training_export.phantom_roi import RoiKind
from training_export.phantoms import Phantom, make_phantom

FOREIGN = "1.2.826.0.1.3680043.10.1.99"
SHIFTED = Motion((0.0, 0.0, 4.0), (12.0, 0.0, 0.0))
Analyse = Callable[[Sequence[Dataset]], StudyFindings]
(PET_CT,) = BIOMARKERS


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a tiny network."""
    folder = tmp_path_factory.mktemp("models")
    write_package(folder / "egfr", network(1), name="tiny-egfr", status="research")
    return settings.load(None, {"storage": {"root": Path("unused")}, "inference": {"models": str(folder)}})


@pytest.fixture(scope="module")
def scorers(loaded: Settings) -> Mapping[str, Scorer]:
    return load_scorers(PET_CT, loaded)


@pytest.fixture(scope="module")
def analyse(loaded: Settings, scorers: Mapping[str, Scorer]) -> Analyse:
    return lambda datasets: analyse_study(datasets, PET_CT, scorers, loaded).findings


@pytest.fixture(scope="module")
def analyse_registered(loaded: Settings, scorers: Mapping[str, Scorer]) -> Analyse:
    """Analyse with registration also where PET and CT share a frame of reference."""
    section = loaded.inference.model_copy(update={"registration": "always"})
    always = loaded.model_copy(update={"inference": section})
    return lambda datasets: analyse_study(datasets, PET_CT, scorers, always).findings


@lru_cache(maxsize=2)
def _phantom(seed: int) -> tuple[Dataset, ...]:
    return tuple(phantom_datasets(make_phantom(seed), RoiKind.SEG).values())


def foreign_pet(study: Sequence[Dataset], motion: Motion = SHIFTED) -> list[Dataset]:
    """Return the study with its PET as another scanner would place it."""
    others = [ds for ds in study if ds.Modality != "PT"]
    return others + motion.study(of_modality(study, "PT"), FOREIGN)


def codes(found: StudyFindings) -> set[str]:
    return {w.code for w in found.warnings}


@pytest.mark.parametrize("motion", [
    Motion((20.0, -35.0, 50.0), (12.5, -7.0, 400.0)), Motion((180.0, 0.0, 0.0)), Motion((0.0, 180.0, 90.0)),
])  # fmt: skip
def test_the_score_does_not_depend_on_where_the_patient_lies_in_the_room(analyse: Analyse, motion: Motion) -> None:
    """Oblique, feet first, turned: PET, CT and region are one rigid body."""
    plain, turned = analyse(small_study(1)), analyse(motion.study(small_study(1)))
    assert turned.status == "scored"
    assert turned.patient.egfr_dls == pytest.approx(plain.patient.egfr_dls, abs=2e-4)
    assert turned.lesions[0].suv_max == pytest.approx(plain.lesions[0].suv_max)
    assert codes(turned) == codes(plain)


def cut(ds: Dataset, first: int, last: int) -> None:
    """Keep the columns from ``first`` to ``last`` (excluded); beyond the image they are empty."""
    pixels = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    wide = np.pad(pixels, ((0, 0), (max(-first, 0), max(last - ds.Columns, 0))))
    kept = wide[:, max(first, 0) : max(first, 0) + last - first]
    x, y, z = (float(v) for v in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x + first * float(ds.PixelSpacing[1]), y, z]
    ds.Columns, ds.PixelData = kept.shape[1], kept.tobytes()


def test_a_wider_pet_changes_nothing(analyse: Analyse) -> None:
    study = small_study(1)
    for ds in of_modality(study, "PT"):
        cut(ds, -8, 24)
    plain, wider = analyse(small_study(1)), analyse(study)
    assert wider.patient.egfr_dls == plain.patient.egfr_dls
    assert wider.lesions[0].suv_max == plain.lesions[0].suv_max


def test_a_pet_that_ends_beside_the_lesion_is_said(analyse: Analyse) -> None:
    """The lesion lies at x = -24 mm; the PET ends at -16 mm."""
    study = small_study(1)
    for ds in of_modality(study, "PT"):
        cut(ds, 0, 6)
    found = analyse(study)
    assert found.status == "scored"
    assert "CROP_PADDED" in codes(found)


def test_a_pet_that_does_not_reach_the_lesion_is_said(analyse: Analyse) -> None:
    study = small_study(1)
    for ds in of_modality(study, "PT"):
        cut(ds, 12, 16)
    found = analyse(study)
    assert {"CROP_PADDED", "HYPERIMAGE_FLAT_CHANNEL"} <= codes(found)
    assert found.lesions[0].suv_max is None


def test_a_shorter_ct_scores_its_slices(analyse: Analyse) -> None:
    """The PET goes on above and below."""
    study = [ds for ds in small_study(1) if ds.Modality != "CT" or 2 <= ds.InstanceNumber <= 7]
    found = analyse(study)
    assert found.status == "scored"
    assert "REGISTRATION_ESTIMATED" not in codes(found)


def test_a_pet_that_ends_below_the_lesion_is_said(analyse: Analyse) -> None:
    """The CT goes on: its slices have no uptake there, which is not the same as none in the patient."""
    study = [ds for ds in small_study(1) if ds.Modality != "PT" or ds.InstanceNumber <= 3]
    found = analyse(study)
    assert found.status == "scored"
    assert "CROP_PADDED" in codes(found)


def test_beds_of_two_times_and_slopes_score_like_one(analyse: Analyse) -> None:
    """Each bed has its acquisition time and its scale of stored values; SUV refers to the series (DecayCorrection START)."""
    study = small_study(1)
    for ds in of_modality(study, "PT")[4:]:
        ds.AcquisitionNumber, ds.AcquisitionTime, ds.FrameReferenceTime = 2, "110300", "270000"
        pixels = np.frombuffer(ds.PixelData, "<u2" if ds.PixelRepresentation == 0 else "<i2")
        assert not (pixels % 2).any() or pixels.max() < 16000
        ds.PixelData, ds.RescaleSlope = (pixels * 2).tobytes(), float(ds.RescaleSlope) / 2
    plain, beds = analyse(small_study(1)), analyse(study)
    assert beds.patient.egfr_dls == pytest.approx(plain.patient.egfr_dls, abs=1e-6)
    assert beds.lesions[0].suv_max == pytest.approx(plain.lesions[0].suv_max)


def test_slices_of_ct_and_pet_may_have_different_distances(analyse: Analyse) -> None:
    """Every second PET slice: 8 mm to the CT's 4 mm; what lies between is interpolated."""
    study = [ds for ds in small_study(1) if ds.Modality != "PT" or ds.InstanceNumber % 2]
    plain, sparse = analyse(small_study(1)), analyse(study)
    assert sparse.status == "scored"
    assert sparse.lesions[0].suv_max == pytest.approx(plain.lesions[0].suv_max, rel=0.3)


def moved_by(offset_mm: tuple[float, float, float]) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        ds.ImagePositionPatient = [float(p) + d for p, d in zip(ds.ImagePositionPatient, offset_mm, strict=True)]

    return change


def in_a_frame_of_its_own(ds: Dataset) -> None:
    ds.FrameOfReferenceUID = FOREIGN


def lying_otherwise(ds: Dataset) -> None:
    ds.ImageOrientationPatient = [0, 1, 0, -1, 0, 0]


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize(("change", "words"), [
    (moved_by((0, 0, 2)), "apart, others"), (moved_by((0, 2, 0)), "gantry tilt"),
    (in_a_frame_of_its_own, "one value in all slices"), (lying_otherwise, "one orientation"),
])  # fmt: skip
def test_a_study_whose_slices_are_no_grid_is_refused(
    analyse: Analyse, modality: str, change: Callable[[Dataset], None], words: str
) -> None:
    """Unequal distances, a tilt, two frames of reference or orientations within one series."""
    study = small_study(1)
    change(of_modality(study, modality)[3])
    found = analyse(study)
    assert (found.status, found.refusal.code) == ("refused", "GEOMETRY_MISMATCH")
    assert words in found.refusal.message


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_a_study_with_two_slices_at_one_position_is_refused(analyse: Analyse, modality: str) -> None:
    study = small_study(1)
    twin = deepcopy(of_modality(study, modality)[3])
    twin.SOPInstanceUID = f"{twin.SOPInstanceUID}.7"
    found = analyse([*study, twin])
    assert (found.status, found.refusal.code) == ("refused", "GEOMETRY_MISMATCH")
    assert "at one position" in found.refusal.message


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_a_study_with_a_gap_is_refused(analyse: Analyse, modality: str) -> None:
    study = small_study(1)
    study.remove(of_modality(study, modality)[3])
    found = analyse(study)
    assert (found.status, found.refusal.code) == ("refused", "GEOMETRY_MISMATCH")
    assert "without gaps" in found.refusal.message


def test_another_frame_of_reference_is_registered_and_said(analyse: Analyse) -> None:
    study = _phantom(1)
    plain, registered = analyse(study), analyse(foreign_pet(study))
    assert registered.status == "scored"
    (said,) = [w.message for w in registered.warnings if w.code == "REGISTRATION_ESTIMATED"]
    assert FOREIGN in said
    assert codes(registered) - codes(plain) == {"REGISTRATION_ESTIMATED"}
    assert "registration" in registered.timings_seconds
    for ours, theirs in zip(registered.lesions, plain.lesions, strict=True):
        assert ours.suv_max == pytest.approx(theirs.suv_max, rel=0.05)
    assert registered.patient.egfr_dls == pytest.approx(plain.patient.egfr_dls, abs=0.05)


def test_the_same_study_gives_the_same_findings_whatever_the_order_of_its_files(analyse: Analyse) -> None:
    study = foreign_pet(_phantom(1))
    assert analyse(study).inputs_sha256 == analyse(study[::-1]).inputs_sha256


def test_on_request_a_patient_who_moved_is_registered_and_it_is_said(
    analyse: Analyse, analyse_registered: Analyse
) -> None:
    """PET and CT share a frame of reference; the patient moved by 12 mm and 4 degrees between them."""
    study = _phantom(1)
    others, pet = [ds for ds in study if ds.Modality != "PT"], of_modality(study, "PT")
    moved = others + SHIFTED.study(pet)
    plain, unasked, registered = analyse(study), analyse(moved), analyse_registered(moved)
    assert "REGISTRATION_ESTIMATED" not in codes(unasked)
    (said,) = [w.message for w in registered.warnings if w.code == "REGISTRATION_ESTIMATED"]
    assert "registration was asked for" in said
    assert "mutual information" in said
    measured = re.search(r"shift (\S+) mm .*rotation (\S+) degrees", said)
    assert measured is not None
    assert (float(measured[1]), float(measured[2])) == pytest.approx((12.0, 4.0), abs=1.0)
    missed = [abs(found.patient.egfr_dls - plain.patient.egfr_dls) for found in (unasked, registered)]
    assert missed[1] < missed[0] / 2
    assert registered.configuration_sha256 != unasked.configuration_sha256


def test_on_request_what_is_right_stays_where_it_is(analyse: Analyse, analyse_registered: Analyse) -> None:
    plain, registered = analyse(_phantom(1)), analyse_registered(_phantom(1))
    (said,) = [w.message for w in registered.warnings if w.code == "REGISTRATION_ESTIMATED"]
    assert "shift 0.0 mm" in said
    assert registered.patient.egfr_dls == plain.patient.egfr_dls


def test_on_request_what_cannot_be_is_refused(analyse_registered: Analyse) -> None:
    study = _phantom(1)
    others, pet = [ds for ds in study if ds.Modality != "PT"], of_modality(study, "PT")
    found = analyse_registered(others + Motion((0.0, 0.0, 30.0)).study(pet))
    assert (found.status, found.refusal.code) == ("refused", "REGISTRATION_IMPLAUSIBLE")
    assert "registration was asked for" in found.refusal.message
    assert "score it without registration" in found.refusal.message


def test_no_frame_of_reference_at_all_is_registered(analyse: Analyse) -> None:
    """Stripped headers: the positions may be those of one frame, and the estimate finds that they are."""
    study = [ds for ds in Motion().study(_phantom(1)) if ds.Modality != "SEG"]
    seg = of_modality(_phantom(1), "SEG")
    for ds in study:
        del ds.FrameOfReferenceUID
    (said,) = [w.message for w in analyse([*study, *seg]).warnings if w.code == "REGISTRATION_ESTIMATED"]
    assert "of the CT is missing, of the PET missing" in said
    assert "shift 0.0 mm" in said


def drawn_on_pet(seed: int) -> Dataset:
    """Return the first lesion as contours on the PET's own slices, where the PET lies beside its CT."""
    patient = make_phantom(seed)
    pet, grid = of_modality(_phantom(seed), "PT"), patient.pet_suv.geometry
    lesion = patient.lesions[0].mask.reshape(*grid.shape[:2], 2, grid.shape[2], 2).mean(axis=(2, 4))
    contours = []
    for z in np.flatnonzero((lesion >= 0.5).any(axis=(1, 2))):
        for outline in find_contours(lesion[z], 0.5):
            points = [grid.index_to_mm[:3] @ (x, y, z, 1.0) for y, x in outline]
            contours.append([float(v) for p in points for v in p])
    return rtstruct(pet, {"GTV": contours})


def test_a_region_drawn_on_the_pet_follows_it(analyse: Analyse) -> None:
    """Its contours are in the PET's frame of reference; the slices scored are those of the CT's lesion."""
    images = [ds for ds in _phantom(1) if ds.Modality != "SEG"]
    drawn = drawn_on_pet(1)
    plain = analyse([*images, drawn])
    registered = analyse([*foreign_pet(images), *SHIFTED.study([drawn], FOREIGN)])
    assert (plain.status, registered.status) == ("scored", "scored")
    ours, theirs = registered.lesions[0], plain.lesions[0]
    assert ours.suv_max == pytest.approx(theirs.suv_max, rel=1e-6)
    assert ours.volume_ml == pytest.approx(theirs.volume_ml, rel=0.03), "voxel centres on a contour fall to either side"
    middles = [np.mean([s.position_mm for s in lesion.slices]) for lesion in (ours, theirs)]
    assert middles[0] == pytest.approx(middles[1], abs=2.0)
    patient = make_phantom(1)
    (found,) = placed_on_ct(drawn, patient)
    z, y, x = np.argwhere(found).mean(axis=0)
    middle = patient.ct_hu.geometry.index_to_mm[:3] @ (x, y, z, 1.0)
    np.testing.assert_allclose(middle, patient.lesions[0].centre_mm, atol=2.5)


def placed_on_ct(drawn: Dataset, patient: Phantom) -> list[Mask]:
    """Return the masks on the CT of regions drawn on the PET, both as another scanner would place them."""
    grid = SHIFTED.grid(patient.pet_suv.geometry)
    pet = replace(patient.pet_suv, geometry=grid, frame_of_reference_uid=FOREIGN)
    moved = register(pet, patient.ct_hu).moved(pet)
    found = search_stored(SHIFTED.study([drawn], FOREIGN), moved, patient.ct_hu, None)
    return [tumour.on_ct.mask for tumour in found.tumours]


def test_another_patient_upside_down_is_refused(analyse: Analyse) -> None:
    """The PET of another phantom, head for feet: its slices in reverse order, each mirrored."""
    others = of_modality(Motion().study(_phantom(2)), "PT")
    pixels = [np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns)[:, ::-1].tobytes() for ds in others]
    slopes = [ds.RescaleSlope for ds in others]
    (ct,) = of_modality(_phantom(1), "CT")[:1]
    for ds, plane, slope in zip(others, reversed(pixels), reversed(slopes), strict=True):
        ds.PixelData, ds.RescaleSlope = plane, slope
        ds.PatientID, ds.StudyInstanceUID = ct.PatientID, ct.StudyInstanceUID
    found = analyse([ds for ds in _phantom(1) if ds.Modality != "PT"] + others)
    assert (found.status, found.refusal.code) == ("refused", "REGISTRATION_IMPLAUSIBLE")
    assert "head for feet" in found.refusal.message
    assert {s.role for s in found.series} == {"pet", "ct", "roi"}
