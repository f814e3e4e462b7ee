"""The activation maps as numbers: on their scale, at their place in the patient, and read by others."""

from __future__ import annotations

import io
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from egfr_dls.evidence import EvidenceImages, LesionEvidence
from reporting.build import to_bytes
from tests.builders import CT_SERIES_UID
from tests.reporting.report_cases import Case, lesion_evidence, lesion_finding, refused, scored


def with_evidence(*lesions: LesionEvidence) -> Case:
    return replace(scored(), evidence=EvidenceImages(lesions, pet_is_suv=True)).wanting(maps=True)


def read(case: Case) -> Dataset:
    return dcmread(io.BytesIO(to_bytes(case.build()["map"])))


def pattern(ds: Dataset, label: str) -> tuple[list[list[float]], NDArray[np.float32]]:
    """Return Image Position (Patient) of each frame of a pattern, ascending in z, and its float32 ``[frame, row, column]``."""
    shape = (int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns))
    pixels = np.frombuffer(ds.FloatPixelData, dtype="<f4").reshape(shape)
    found = sorted(
        ([float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient], i)
        for i, groups in enumerate(ds.PerFrameFunctionalGroupsSequence)
        if groups.RealWorldValueMappingSequence[0].LUTLabel == label
    )
    return [position for position, _ in found], pixels[[i for _, i in found]]


def test_every_scored_slice_has_both_patterns_on_the_patients_scale() -> None:
    ds = read(with_evidence(lesion_evidence()))
    evidence = lesion_evidence()
    assert evidence.cam_positive is not None
    assert evidence.cam_negative is not None
    for label, maps in (("MUTANT", evidence.cam_positive), ("WILD TYPE", evidence.cam_negative)):
        _, held = pattern(ds, label)
        assert held.shape == (3, 96, 96)
        assert np.allclose(held, maps / evidence.cam_positive.max(), atol=1e-6)
    assert pattern(ds, "MUTANT")[1].max() == 1.0


def test_a_frame_lies_where_the_crop_lay_on_its_slice() -> None:
    case = with_evidence(lesion_evidence())
    ds = read(case)
    ct = case.sources.images[f"{CT_SERIES_UID}.4"]
    row, column = -30, -34  # the crop's first pixel, outside the slice
    spacing = [float(v) for v in ct.PixelSpacing]
    x, y, z = (float(v) for v in ct.ImagePositionPatient)
    assert pattern(ds, "WILD TYPE")[0][0] == pytest.approx([x + column * spacing[1], y + row * spacing[0], z])
    assert ds.FrameOfReferenceUID == ct.FrameOfReferenceUID


def test_the_maps_of_all_lesions_share_one_grid() -> None:
    near = replace(lesion_evidence("Lesion 2"), origin_pixel=(-20, -34))
    case = with_evidence(lesion_evidence(), near).but(lesions=(lesion_finding(), lesion_finding("Lesion 2")))
    ds = read(case)
    _, (mutant, *_) = pattern(ds, "MUTANT")
    assert mutant.shape == (106, 96)
    single = lesion_evidence().cam_positive
    assert single is not None
    expected = np.zeros((106, 96))
    expected[:96] = single[0]
    expected[10:] = np.maximum(expected[10:], single[0])
    assert np.allclose(mutant, expected / single.max(), atol=1e-6)


def test_the_object_says_what_its_numbers_are() -> None:
    ds = read(with_evidence(lesion_evidence()))
    mapping = ds.PerFrameFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130403"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert (ds.ContentLabel, ds.ContentQualification, ds.SeriesNumber) == ("GRADCAM", "RESEARCH", 9004)
    window = ds.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth) == (0.5, 1.0)


def test_the_same_maps_give_the_same_bytes() -> None:
    one, two = (to_bytes(with_evidence(lesion_evidence()).build()["map"]) for _ in range(2))
    assert one == two


def test_no_map_is_no_object() -> None:
    without = with_evidence(lesion_evidence(maps=False))
    unplaced = with_evidence(replace(lesion_evidence(), origin_pixel=None))
    for case in (scored(), without, unplaced, refused().wanting(maps=True)):
        assert "map" not in case.build()


def test_highdicom_reads_the_values_of_a_pattern() -> None:
    made = to_bytes(with_evidence(lesion_evidence()).build()["map"])
    image = hd.imread(io.BytesIO(made))
    values = image.get_frames(apply_real_world_transform=True)
    assert values.shape == (6, 96, 96)
    assert values.max() == pytest.approx(1.0)
