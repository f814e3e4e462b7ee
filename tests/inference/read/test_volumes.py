"""PET and CT series become volumes in SUVbw and HU; pixels that cannot be decoded are refused by name."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import Unit
from inference.imaging.suv import suv_scale
from inference.read.ct import read_ct
from inference.read.header import tag_of
from inference.read.pet import pet_slices, read_pet
from inference.read.series import SeriesImages, group_series
from tests import builders


def series_of(datasets: list[Dataset]) -> SeriesImages:
    (series,) = group_series(datasets)
    return series


def test_a_pet_becomes_the_suv_it_was_made_of_whatever_the_slope_of_its_slices() -> None:
    series = series_of(builders.pet_slices()[::-1])
    volume = read_pet(series, suv_scale(pet_slices(series)))
    assert volume.unit is Unit.SUVBW
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.voxels, builders.body_suv(), atol=builders.SUV_STEP)
    assert volume.sop_instance_uids == tuple(ds.SOPInstanceUID for ds in builders.pet_slices())
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 1


def test_a_pet_without_scale_is_relative() -> None:
    series = series_of(builders.pet_slices(PatientWeight=None))
    volume = read_pet(series, None)
    assert volume.unit is Unit.RELATIVE
    np.testing.assert_allclose(volume.voxels * builders.SUV_FACTOR, builders.body_suv(), atol=builders.SUV_STEP)


def test_a_ct_becomes_hu_on_its_own_grid() -> None:
    volume = read_ct(series_of(builders.ct_slices()))
    assert volume.unit is Unit.HOUNSFIELD
    np.testing.assert_array_equal(volume.voxels, builders.body_hu())
    assert volume.padding is not None
    assert not volume.padding.any()
    assert volume.geometry.spacing_mm == (4.0, 4.0, 4.0)
    assert volume.geometry.origin_mm == (-62.0, -62.0, 0.0)


def test_padding_is_where_the_header_says_or_the_air_is_impossible() -> None:
    hu = builders.body_hu()
    hu[:, 0, :] = -900.0  # stored 124, named as padding
    datasets = builders.ct_slices(hu, PixelPaddingValue=124)
    low = builders.ct_slices(hu, RescaleIntercept="-3024")
    named, impossible = read_ct(series_of(datasets)).padding, read_ct(series_of(low)).padding
    assert named is not None
    assert impossible is not None
    np.testing.assert_array_equal(named, hu == -900.0)
    np.testing.assert_array_equal(impossible, hu - 2000 < -1024)


@pytest.mark.parametrize(("values", "words"), [
    ({"RescaleSlope": None}, "RescaleSlope (0028,1053) is missing"),
    ({"RescaleIntercept": None}, "RescaleIntercept (0028,1052) is missing"),
    ({"RescaleSlope": "0"}, "RescaleSlope (0028,1053) is 0"),
    ({"RescaleSlope": "1e300"}, "leave the range of float32"),
])  # fmt: skip
def test_a_ct_that_cannot_be_hu_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyRefusedError) as refused:
        read_ct(series_of(builders.ct_slices(**values)))
    assert refused.value.code is RefusalCode.PIXELS_UNREADABLE
    assert words in refused.value.message


@pytest.mark.parametrize("value", [b"nan ", b"inf ", b"-inf", b"1e999 "])
@pytest.mark.parametrize(("modality", "keyword", "code"), [
    ("CT", "RescaleSlope", RefusalCode.PIXELS_UNREADABLE), ("CT", "RescaleIntercept", RefusalCode.PIXELS_UNREADABLE),
    ("PT", "RescaleSlope", RefusalCode.SUV_INTERCEPT), ("PT", "RescaleIntercept", RefusalCode.SUV_INTERCEPT),
])  # fmt: skip
def test_a_rescale_that_is_no_number_is_refused_by_name(
    modality: str, keyword: str, code: RefusalCode, value: bytes
) -> None:
    datasets = builders.ct_slices() if modality == "CT" else builders.pet_slices()
    tag = tag_of(keyword)
    datasets[3]._dict[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    series = series_of(datasets)
    with pytest.raises(StudyRefusedError) as refused:
        read_ct(series) if modality == "CT" else read_pet(series, suv_scale(pet_slices(series)))
    assert refused.value.code is code
    assert keyword in refused.value.message
    assert "Needed: " in refused.value.message


HOSTILE: dict[str, tuple[dict[str, Any], RefusalCode, str]] = {
    "gigapixels": (
        {"Rows": 4096, "Columns": 4096, "PixelSpacing": [0.2, 0.2]}, RefusalCode.PIXELS_UNREADABLE,
        "bytes where 4096 x 4096 pixels of 16 bits need 33554432"),
    "a million frames": (
        {"NumberOfFrames": 10**6}, RefusalCode.PIXELS_UNREADABLE, "NumberOfFrames (0028,0008) is '1000000'"),
    "all rows there can be": ({"Rows": 65535}, RefusalCode.PIXELS_UNREADABLE, "Rows (0028,0010) is '65535'"),
    "no pixels": ({"PixelData": None}, RefusalCode.PIXELS_UNREADABLE, "PixelData (7FE0,0010) of 0 bytes where"),
    "zero spacing": ({"PixelSpacing": [0, 0]}, RefusalCode.GEOMETRY_MISMATCH, "PixelSpacing (0028,0030) is '0"),
    "slices of nothing": (
        {"ImagePositionPatient": lambda i: [0, 0, 1e-6 * i]}, RefusalCode.GEOMETRY_MISMATCH, "at one position"),
}  # fmt: skip


def peak_bytes(call: Callable[[], object]) -> int:
    """Return what a call took at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused_before_memory_is_taken(case: str, modality: str) -> None:
    """Headers that promise gigabytes over a few hundred bytes of pixels, or lengths that no scanner has."""
    lie, code, words = HOSTILE[case]
    series = series_of(builders.ct_slices(**lie) if modality == "CT" else builders.pet_slices(**lie))

    def read() -> None:
        with pytest.raises(StudyRefusedError) as refused:
            read_ct(series) if modality == "CT" else read_pet(series, None)
        assert (refused.value.code, words in refused.value.message) == (code, True)

    assert peak_bytes(read) < 2**20


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_geometry_that_is_not_a_number_is_refused_before_memory_is_taken(keyword: str, modality: str) -> None:
    datasets = builders.ct_slices() if modality == "CT" else builders.pet_slices()
    tag, value = tag_of(keyword), b"nan\\nan\\nan"
    datasets[3]._dict[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    series = series_of(datasets)

    def read() -> None:
        with pytest.raises(StudyRefusedError, match=f"GEOMETRY_MISMATCH.*{keyword}.*nan"):
            read_ct(series) if modality == "CT" else read_pet(series, None)

    assert peak_bytes(read) < 2**20


@pytest.mark.parametrize("deferred", [True, False])
def test_pixels_that_are_still_in_the_file_are_measured_too(tmp_path: Path, deferred: bool) -> None:
    file = tmp_path / "one"
    file.write_bytes(builders.to_part10(builders.ct_slices(np.zeros((1, 64, 64)), Rows=65)[0]))
    series = series_of([dcmread(file, defer_size=1024 if deferred else None)])
    with pytest.raises(StudyRefusedError, match="of 8192 bytes where 65 x 64 pixels of 16 bits need 8320"):
        read_ct(series)


def compressed(syntax: str, fragment: bytes) -> SeriesImages:
    datasets = builders.ct_slices()
    for ds in datasets:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([fragment])
        ds["PixelData"].VR = "OB"
    return series_of(datasets)


@pytest.mark.parametrize(("syntax", "name"), [
    (JPEGLSLossless, "JPEG-LS Lossless"), (JPEG2000Lossless, "JPEG 2000 Image Compression (Lossless Only)"),
    (JPEGLosslessSV1, "JPEG Lossless"), (RLELossless, "RLE Lossless"),
])  # fmt: skip
def test_damaged_pixels_are_refused_with_instance_and_transfer_syntax(syntax: str, name: str) -> None:
    with pytest.raises(StudyRefusedError) as refused:
        read_ct(compressed(syntax, b"\xff\xd8 SECRET nothing of an image \xff\xd9\x00"))
    assert refused.value.code is RefusalCode.PIXELS_UNREADABLE
    assert f"{builders.CT_SERIES_UID}.1 in transfer syntax {name}" in refused.value.message
    assert "SECRET" not in refused.value.message


@pytest.mark.parametrize(("syntax", "package"), [
    (JPEGLSLossless, "pyjpegls"), (JPEG2000Lossless, "pylibjpeg-openjpeg"), (JPEGLosslessSV1, "pylibjpeg-libjpeg"),
])  # fmt: skip
def test_a_missing_decoder_is_named_with_its_package(
    syntax: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    with pytest.raises(StudyRefusedError) as refused:
        read_ct(compressed(syntax, b"\x00\x00"))
    assert f"the decoder plug-in {package} to be installed" in refused.value.message


def test_an_unknown_transfer_syntax_is_refused() -> None:
    with pytest.raises(StudyRefusedError, match=r"1\.2\.3\.4.*a transfer syntax that can be decoded"):
        read_ct(compressed("1.2.3.4", b"\x00\x00"))


def test_too_few_pixels_are_refused() -> None:
    with pytest.raises(StudyRefusedError, match="PIXELS_UNREADABLE"):
        read_ct(series_of(builders.ct_slices(PixelData=b"\x00\x00")))


def test_recursion_in_a_decoder_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(*_: object, **__: object) -> None:
        raise RecursionError("SECRET^NAME")

    monkeypatch.setattr(Decoder, "as_array", deep)
    with pytest.raises(StudyRefusedError, match="RecursionError") as refused:
        read_ct(series_of(builders.ct_slices()))
    assert "SECRET" not in refused.value.message


@pytest.mark.shared_data
def test_lung_ct_keeps_what_lies_outside_its_circle_apart(shared_data: Path) -> None:
    """Signed JPEG-LS, Rescale Intercept 0, minimum -3024 (its README); twelve neighbouring slices."""
    files = sorted((shared_data / "petct_lung_acrin042" / "CT_CT_IMAGES_858561").glob("*.dcm"))
    datasets = sorted((dcmread(f) for f in files), key=lambda ds: float(ds.ImagePositionPatient[2]))[:12]
    volume = read_ct(series_of(datasets))
    assert volume.voxels.min() == -3024.0
    assert volume.padding is not None
    assert volume.voxels[~volume.padding].min() >= -1024.0
    assert volume.padding[:, 0, 0].all()
    for z in (0, 11):
        np.testing.assert_array_equal(volume.voxels[z], datasets[z].pixel_array.astype(np.float32))


@pytest.mark.shared_data
def test_lung_segment_has_the_suv_of_an_independent_computation(shared_data: Path) -> None:
    """Plain numpy over the SEG's frames and the PET's slices, without this product's readers."""
    folder = shared_data / "petct_lung_acrin042"
    pet = [dcmread(f) for f in (folder / "PT_PET_AC_081015").glob("*.dcm")]
    (seg_file,) = (folder / "SEG_PT-Segmentation_504365").glob("*.dcm")
    seg = dcmread(seg_file)
    series = series_of(pet)
    volume = read_pet(series, suv_scale(pet_slices(series)))
    factor = 91_000 / (588_802_304 * 2 ** (-(9 * 3600 + 59 * 60 + 47 - 7 * 3600 - 21 * 60) / 6588))
    z_of_pet = np.array([float(ds.ImagePositionPatient[2]) for ds in pet])
    theirs, ours = [], []
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != 1:
            continue
        distances = np.abs(z_of_pet - float(groups.PlanePositionSequence[0].ImagePositionPatient[2]))
        assert distances.min() < 0.1
        ds, inside = pet[int(distances.argmin())], frame.astype(bool)
        theirs.append((ds.pixel_array * float(ds.RescaleSlope) * factor)[inside])
        ours.append(volume.voxels[volume.sop_instance_uids.index(ds.SOPInstanceUID)][inside])
    expected, found = np.concatenate(theirs), np.concatenate(ours)
    assert found.size == 2548
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.max() == pytest.approx(42.22, abs=0.005)
    assert found.mean() == pytest.approx(5.22, abs=0.005)
