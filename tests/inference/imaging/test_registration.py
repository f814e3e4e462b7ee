"""A PET of another frame of reference finds its place on the CT, or says that there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode, WarningCode
from egfr_dls.volume import FloatVolume, Volume
from inference.imaging import registration
from inference.imaging.registration import Registration, estimated, register
from inference.imaging.resample import cropped
from inference.read.ct import read_ct
from inference.read.folder import read_folder
from inference.read.pet import read_pet
from inference.read.series import group_series
from tests.inference.motion import Motion
from training_export.phantoms import Phantom, make_phantom

FOREIGN = "1.2.3.99"
SMALL = Motion((0.0, 0.0, 4.0), (12.0, 0.0, 0.0))
TURNED = Motion((8.0, 6.0, -7.0), (20.0, -40.0, 300.0))


@lru_cache(maxsize=2)
def phantom(seed: int) -> Phantom:
    return make_phantom(seed)


def foreign(pet: Volume, motion: Motion) -> Volume:
    """Return the PET as another scanner would place it."""
    return replace(pet, geometry=motion.grid(pet.geometry), frame_of_reference_uid=FOREIGN)


def errors_mm(found: Registration, motion: Motion, patient: Phantom) -> list[float]:
    """Return how far each lesion lies from its place on the CT, once the PET is carried there."""
    turn, offset = np.array(found.matrix), np.array(found.offset_mm)
    return [
        float(np.linalg.norm(turn @ motion.point(lesion.centre_mm) + offset - lesion.centre_mm))
        for lesion in patient.lesions
    ]


def part(volume: Volume, low: int, high: int) -> Volume:
    """Return the slices from ``low`` to ``high``."""
    _, rows, columns = volume.geometry.shape
    return replace(
        volume,
        voxels=volume.voxels[low:high].copy(),
        geometry=cropped(volume.geometry, (slice(low, high), slice(0, rows), slice(0, columns))),
        sop_instance_uids=volume.sop_instance_uids[low:high],
    )


@pytest.mark.parametrize(
    ("seed", "motion"),
    [(1, SMALL), (2, TURNED), (2, Motion((3.0, -5.0, 4.0), (-30.0, 60.0, -700.0)))],
    ids=["12 mm and 4 degrees", "turned about all axes", "another zero, 70 cm away"],
)
def test_a_known_motion_is_found_to_two_millimetres_at_the_lesions(seed: int, motion: Motion) -> None:
    patient = phantom(seed)
    found = register(foreign(patient.pet_suv, motion), patient.ct_hu)
    assert max(errors_mm(found, motion, patient)) <= 2.0
    assert found.body_overlap > 0.95


@pytest.mark.shared_data
def test_a_real_pair_is_found_again(shared_data: Path) -> None:
    """One scanner measured both, so the motion that it is moved by is the truth, but for the breathing between the two."""
    folder = shared_data / "petct_lung_acrin042"
    (ct,) = group_series(read_folder(folder / "CT_CT_IMAGES_858561").datasets)
    (pet,) = group_series(read_folder(folder / "PT_PET_AC_081015").datasets)
    hu, shape_only = read_ct(ct), read_pet(pet, None)
    found = register(foreign(shape_only, TURNED), hu)
    turn, offset = np.array(found.matrix), np.array(found.offset_mm)
    middle = hu.geometry.index_to_mm[:3] @ (255.5, 255.5, 67.0, 1.0)
    for beside in ((0, 0, 0), (-80, 0, 0), (80, 0, 50), (0, 50, -60)):
        place = middle + beside
        assert np.linalg.norm(turn @ TURNED.point(place) + offset - place) <= 2.0


def test_where_the_headers_are_right_they_stay() -> None:
    """A pair of one scanner whose frame of reference was renamed is not moved by the estimate's own error."""
    patient = phantom(1)
    pet = foreign(patient.pet_suv, Motion())
    found = register(pet, patient.ct_hu)
    assert (found.shift_mm, found.rotation_degrees) == ((0.0, 0.0, 0.0), 0.0)
    assert found.moved(pet).geometry == pet.geometry


def test_the_same_volumes_give_the_same_bytes() -> None:
    patient = phantom(1)
    pet = foreign(patient.pet_suv, SMALL)
    assert repr(register(pet, patient.ct_hu)) == repr(register(pet, patient.ct_hu))


@pytest.mark.parametrize("short", ["ct", "pet"])
def test_a_short_field_finds_its_place_in_a_long_one(short: str) -> None:
    """Half of the slices: less to go by, and still within a slice."""
    patient = phantom(1)
    pet, ct = foreign(patient.pet_suv, SMALL), patient.ct_hu
    found = register(pet, part(ct, 25, 65)) if short == "ct" else register(part(pet, 20, 60), ct)
    assert max(errors_mm(found, SMALL, patient)) <= 3.0  # mm; slices are 4 mm apart


def test_the_carried_pet_keeps_its_voxels_and_remembers_its_headers() -> None:
    patient = phantom(1)
    pet = foreign(patient.pet_suv, SMALL)
    moved = register(pet, patient.ct_hu).moved(pet)
    assert moved.voxels is pet.voxels
    assert moved.as_stored.geometry == pet.geometry
    assert moved.frame_of_reference_uid == FOREIGN
    np.testing.assert_allclose(np.cross(*moved.geometry.direction[:2]), moved.geometry.direction[2], atol=1e-9)


def test_its_remark_has_both_frames_and_the_measure() -> None:
    patient = phantom(1)
    pet = foreign(patient.pet_suv, SMALL)
    found = register(pet, patient.ct_hu)
    remark = estimated(found, pet, patient.ct_hu)
    assert remark.code == WarningCode.REGISTRATION_ESTIMATED
    x, y, z = found.shift_mm
    for words in (FOREIGN, patient.ct_hu.frame_of_reference_uid, f"(x {x:.1f}, y {y:.1f}, z {z:.1f})",
                  f"rotation {found.rotation_degrees:.1f} degrees", f"information {found.information:.3f}"):  # fmt: skip
        assert words in remark.message


def head_for_feet(voxels: FloatVolume) -> FloatVolume:
    return np.flip(voxels, (0, 2)).copy()


def face_down(voxels: FloatVolume) -> FloatVolume:
    return np.flip(voxels, (1, 2)).copy()


def nothing(voxels: FloatVolume) -> FloatVolume:
    return np.zeros_like(voxels)


def noise(voxels: FloatVolume) -> FloatVolume:
    return np.random.default_rng(0).random(voxels.shape, dtype=np.float32)


def one_value(voxels: FloatVolume) -> FloatVolume:
    return np.ones_like(voxels)


@pytest.mark.parametrize(("change", "words"), [
    (head_for_feet, "fits better head for feet"), (face_down, "fits better"), (nothing, "the PET shows no uptake"),
    (noise, "mutual information"), (one_value, "mutual information"),
])  # fmt: skip
def test_what_cannot_be_that_patient_is_refused(change: Callable[[FloatVolume], FloatVolume], words: str) -> None:
    other = phantom(2).pet_suv
    with pytest.raises(StudyRefusedError) as refused:
        register(replace(other, voxels=change(other.voxels)), phantom(1).ct_hu)
    assert refused.value.code is RefusalCode.REGISTRATION_IMPLAUSIBLE
    assert words in refused.value.message
    assert "FrameOfReferenceUID (0020,0052)" in refused.value.message
    assert "Needed: " in refused.value.message


def test_a_ct_without_body_is_refused() -> None:
    air = replace(phantom(1).ct_hu, voxels=np.full_like(phantom(1).ct_hu.voxels, -1000.0))
    with pytest.raises(StudyRefusedError, match="the CT shows no body"):
        register(foreign(phantom(1).pet_suv, SMALL), air)


@pytest.mark.parametrize(("motion", "words"), [
    (Motion((0.0, 0.0, 30.0)), "at most 15 degrees"), (Motion(shift_mm=(200.0, 0.0, 0.0)), "at most 150 x 150 x 2000 mm"),
])  # fmt: skip
def test_what_no_couch_allows_is_refused(motion: Motion, words: str) -> None:
    with pytest.raises(StudyRefusedError, match="REGISTRATION_IMPLAUSIBLE") as refused:
        register(foreign(phantom(1).pet_suv, motion), phantom(1).ct_hu)
    assert words in refused.value.message


@pytest.mark.parametrize(("measured", "words"), [
    ({"body_overlap": 0.84}, "the bodies do not fit"), ({"information": 0.09}, "one image says nothing of the other"),
])  # fmt: skip
def test_an_estimate_beyond_a_bound_is_refused(
    monkeypatch: pytest.MonkeyPatch, measured: dict[str, float], words: str
) -> None:
    """Of a sound pair, whatever led the search there: the last look is at the estimate itself."""
    measure = registration._measured
    monkeypatch.setattr(registration, "_measured", lambda *of: replace(measure(*of), **measured))
    with pytest.raises(StudyRefusedError, match="REGISTRATION_IMPLAUSIBLE") as refused:
        register(foreign(phantom(1).pet_suv, Motion()), phantom(1).ct_hu)
    assert words in refused.value.message


@pytest.mark.parametrize("posture", ["head for feet and face down", "head for feet", "face down"])
def test_each_posture_is_compared(monkeypatch: pytest.MonkeyPatch, posture: str) -> None:
    starts, turn = registration.Pair.starts, registration.TURNED[posture]
    better = [(9.0, (0.0, 0.0, 0.0))]
    monkeypatch.setattr(
        registration.Pair, "starts", lambda pair, turned=(0.0, 0.0, 0.0): better if turned == turn else starts(pair, turned)
    )  # fmt: skip
    with pytest.raises(StudyRefusedError, match=f"the PET fits better {posture}, with"):
        register(foreign(phantom(1).pet_suv, Motion()), phantom(1).ct_hu)
