"""Damaged and hostile SEG and RTSTRUCT objects: read, passed over with a reason, or refused; never anything else."""

from __future__ import annotations

import random
import warnings
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from egfr_dls.volume import Unit, Volume
from inference.roi.stored_search import search_stored
from tests.builders import SUV_FACTOR, ct_slices, pet_slices, rtstruct, to_part10
from tests.inference.roi.volumes import segmentation, volume_of

Kind = hd.seg.SegmentationTypeValues
DATA_SET = 400  # bytes of preamble and file meta, about, which are not the subject here
LENGTHS_AND_VRS = (b"SQ", b"UN", b"DS", b"OB", b"\xff\xff", b"\0\0")
TRIALS = 150


@pytest.fixture(scope="module")
def volumes() -> tuple[Volume, Volume]:
    """The PET and the CT."""
    return volume_of(pet_slices(), Unit.SUVBW, SUV_FACTOR), volume_of(ct_slices(), Unit.HOUNSFIELD)


@pytest.fixture(scope="module")
def sound() -> dict[str, bytes]:
    """One sound object of each kind, as a file."""
    ct, mask = ct_slices(), np.zeros((8, 32, 32))
    mask[2:5, 8:20, 8:20] = 1
    corners = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 8.0, -20.0, 20.0, 8.0]
    kinds = {
        kind.value: segmentation(ct, mask if kind is Kind.FRACTIONAL else mask.astype(np.uint8), kind=kind)
        for kind in Kind
    }
    return {
        name: to_part10(ds)
        for name, ds in {**kinds, "RTSTRUCT": rtstruct(ct, {"GTV": [corners], "mass": [corners]})}.items()
    }


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some of them changed, swapped for lengths and VRs, or cut out."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8, 16))):
        at, how = chance.randrange(DATA_SET, len(changed) - 8), chance.random()
        if how < 0.6:
            changed[at] = chance.randrange(256)
        elif how < 0.8:
            changed[at : at + 2] = chance.choice(LENGTHS_AND_VRS)
        else:
            del changed[at : at + chance.randrange(1, 9)]
    return bytes(changed)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP", "RTSTRUCT"])
def test_a_damaged_object_is_read_or_passed_over_with_a_reason(
    volumes: tuple[Volume, Volume], sound: dict[str, bytes], kind: str
) -> None:
    """``search_stored`` raises nothing: what it cannot use is among ``unusable``, each with its message."""
    chance, passed_over = random.Random(20260101), 0
    assert search_stored([dcmread(BytesIO(sound[kind]))], *volumes, None).tumours
    for _ in range(TRIALS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of values that break their VR
            try:
                ds = dcmread(BytesIO(damaged(sound[kind], chance)))
            except Exception:  # noqa: BLE001  # the reader of files refuses it
                continue
            found = search_stored([ds], *volumes, None)
        passed_over += bool(found.unusable)
        assert all(0 < len(refusal.message) < 1500 for refusal in found.unusable)
    assert passed_over > TRIALS // 20
