"""dcmqi, built on DCMTK and ITK, reads our objects back: every number of a report, every voxel of a region."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from reporting.variants import SR_CLASSES, Variant
from tests.builders import ct_slices
from tests.reporting.report_cases import (
    MASK_SLICES,
    VARIANTS,
    Case,
    groups,
    lesion_evidence,
    name_of,
    refused,
    scored,
    two_lesions,
)
from tests.reporting.validators import findings, need, written


def run(tool: str, *arguments: str | Path) -> None:
    """Run a tool of dcmqi; it must end with 0, and complain of nothing but known noise."""
    done = subprocess.run([need(tool), *map(str, arguments)], capture_output=True, text=True, check=True)
    complaints = ("W:", "E:", "F:", "Warning", "WARNING", "ERROR", "Error", "Failed", "Found concept that is not known")
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(complaints)]
    assert findings("dcmqi", said) == []


def read_report(case: Case, folder: Path, variant: Variant) -> tuple[Dataset, dict[str, Any]]:
    """Return the only report of this case as written and as read."""
    (report,) = (path for path in written(case.wanting(variants=(variant,)), folder) if "report" in path.name)
    out = report.with_suffix(".json")
    run("tid1500reader", "--inputDICOM", report, "--outputMetadata", out)
    document: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return dcmread(report), document


def values(group: dict[str, Any]) -> list[tuple[str, str]]:
    """Return code and value of each measurement that was read of a group."""
    return [(m["quantity"]["CodeValue"], m["value"]) for m in group.get("measurementItems") or ()]


def numbers(group: Dataset) -> list[tuple[str, str]]:
    """Return code and value of each measurement that was written into a group."""
    nums = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    return [(name_of(item), str(item.MeasuredValueSequence[0].NumericValue)) for item in nums]


@pytest.mark.parametrize("segmentation", [True, False], ids=["with SEG", "without"])
@pytest.mark.parametrize("sop_class_uid", SR_CLASSES)
@pytest.mark.parametrize("make", [scored, refused, two_lesions], ids=["scored", "refused", "in part"])
def test_every_number_of_each_variant_is_read(
    make: Callable[[], Case], sop_class_uid: UID, segmentation: bool, tmp_path: Path
) -> None:
    report, document = read_report(make(), tmp_path, Variant(sop_class_uid, segmentation=segmentation))
    assert document["CompletionFlag"] == report.CompletionFlag
    assert [values(group) for group in document["Measurements"]] == [numbers(group) for group in groups(report)]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_report_is_read(name: str, tmp_path: Path) -> None:
    report, document = read_report(VARIANTS[name](), tmp_path, Variant())
    assert [values(group) for group in document["Measurements"]] == [numbers(group) for group in groups(report)]


def test_numbers_and_codes_are_those_of_the_findings(tmp_path: Path) -> None:
    _, document = read_report(scored(), tmp_path, Variant())
    lesion, slices, patient = document["Measurements"]
    score = [("EGFRDLS", "0.7098"), ("PDL1DLS", "0.3121"), ("EGFRDLS-SD", "0.0513"), ("NSLICES", "3")]
    assert values(lesion) == [*score, ("126401", "10.00"), ("126032", "4.02"), ("126033", "33.40")]
    assert values(slices) == [("EGFRDLS-SLICE", v) for v in ("0.6512", "0.7304", "0.7478")]
    assert values(patient) == score
    names = [group["TrackingIdentifier"] for group in document["Measurements"]]
    assert names == ["Lesion 1", "Lesion 1, slice scores", "Patient"]
    assert lesion["ReferencedSegment"] == 1
    assert (lesion["Finding"]["CodeMeaning"], lesion["FindingSite"]["CodeMeaning"]) == ("Neoplasm", "Lung")


def voxels(image: SimpleITK.Image) -> dict[tuple[float, ...], float]:
    """Return value by position, LPS mm, of every voxel that is not 0."""
    array = SimpleITK.GetArrayViewFromImage(image)
    where = np.argwhere(array)
    return {
        tuple(round(x, 3) for x in image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])): float(
            array[tuple(index)]
        )
        for index in where
    }


def position_mm(slice_number: int, row: int, column: int) -> tuple[float, ...]:
    """Return where a voxel of the builders' CT is, by its header (PS3.3 C.7.6.2.1.1)."""
    ds = ct_slices()[slice_number]
    spacing = [float(x) for x in ds.PixelSpacing]
    x, y, z = (float(v) for v in ds.ImagePositionPatient)
    return round(x + column * spacing[1], 3), round(y + row * spacing[0], 3), round(z, 3)


@pytest.mark.parametrize(("make", "labels"), [(scored, ["Lesion 1"]), (two_lesions, ["Lesion 1", "Lesion 2"])])
def test_every_voxel_of_a_region_is_where_the_mask_was(
    make: Callable[[], Case], labels: list[str], tmp_path: Path
) -> None:
    (seg,) = (path for path in written(make(), tmp_path) if "roi" in path.name)
    run("segimage2itkimage", "--inputDICOM", seg, "--outputDirectory", tmp_path, "--outputType", "nii")
    meta = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    segments = [segment for group in meta["segmentAttributes"] for segment in group]
    assert [segment["SegmentLabel"] for segment in segments] == labels
    mask = lesion_evidence().mask
    expected = {position_mm(MASK_SLICES[z], int(y), int(x)) for z, y, x in np.argwhere(mask)}
    assert len(expected) == mask.sum()
    images = sorted(tmp_path.glob("*.nii.gz"))
    assert len(images) == len(labels)
    for image in images:
        assert set(voxels(SimpleITK.ReadImage(str(image)))) == expected
