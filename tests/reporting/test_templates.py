"""Template-level readers and validators: PixelMed checks TID 1500 row by row, dcmqi reads it back without our libraries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from reporting.build import to_bytes
from reporting.variants import SR_CLASSES, Variant
from tests.reporting.report_cases import Case, name_of, refused, scored, two_lesions
from tests.reporting.validators import need, written

PIXELMED = Path("/usr/share/java/pixelmed.jar")  # of Debian's libpixelmed-java
LIMITS = ("-Xmx3g", "-Xss512m", *(f"-Djdk.xml.xpath{limit}Limit=0" for limit in ("TotalOp", "ExprOp", "ExprGrp")))


def template_errors(report: Path) -> list[str]:
    """Return PixelMed's errors; it ends with 0 whatever it finds, so it must have said which template it held the report to."""
    if not PIXELMED.exists():
        pytest.skip("libpixelmed-java is not installed")
    command = [need("java"), *LIMITS, "-cp", str(PIXELMED), "com.pixelmed.validate.DicomSRValidator", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = (done.stdout + done.stderr).splitlines()
    assert "Found Root Template TID_1500 (MeasurementReport)" in said
    return [line for line in said if line.startswith("Error")]


def only_groups(ds: Dataset, template: str) -> Dataset:
    """Leave the measurement groups of one template: in a mixed report the validator asks for the rows of TID 1411 everywhere."""
    (measurements,) = (item for item in ds.ContentSequence if name_of(item) == "126010")
    measurements.ContentSequence = [
        group
        for group in measurements.ContentSequence
        if group.ContentTemplateSequence[0].TemplateIdentifier == template
    ]
    assert measurements.ContentSequence
    return ds


@pytest.mark.system
def test_pixelmed_finds_nothing_wrong_with_a_lesion_and_its_segment(tmp_path: Path) -> None:
    made = scored().build()["report"]
    only_groups(made.dataset, "1411")
    (tmp_path / "report.dcm").write_bytes(to_bytes(made))
    assert template_errors(tmp_path / "report.dcm") == []


@pytest.mark.system
@pytest.mark.parametrize("case", [scored(), refused()], ids=["scored", "refused"])
def test_pixelmed_finds_nothing_wrong_with_groups_without_segment(case: Case, tmp_path: Path) -> None:
    without = case.wanting(variants=(Variant(segmentation=False),))
    (report,) = (path for path in written(without, tmp_path) if "report" in path.name)
    assert template_errors(report) == []


def read_by_dcmqi(report: Path) -> dict[str, Any]:
    tool = shutil.which("tid1500reader") or shutil.which("tid1500reader", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("dcmqi is not installed")
    out = report.with_suffix(".json")
    subprocess.run([tool, "--inputDICOM", str(report), "--outputMetadata", str(out)], capture_output=True, check=True)
    document: dict[str, Any] = json.loads(out.read_text())
    return document


def values(group: dict[str, Any]) -> list[tuple[str, str]]:
    """Return code and value of each measurement of a group."""
    return [(m["quantity"]["CodeValue"], m["value"]) for m in group["measurementItems"]]


@pytest.mark.parametrize("sop_class_uid", SR_CLASSES)
def test_dcmqi_reads_every_number_back(sop_class_uid: str, tmp_path: Path) -> None:
    (report,) = (
        path
        for path in written(scored().wanting(variants=(Variant(sop_class_uid),)), tmp_path)
        if "report" in path.name
    )
    document = read_by_dcmqi(report)
    assert document["CompletionFlag"] == "COMPLETE"
    lesion, slices, patient = document["Measurements"]
    score = [("EGFRDLS", "0.7098"), ("PDL1DLS", "0.3121"), ("EGFRDLS-SD", "0.0513"), ("NSLICES", "3")]
    assert values(lesion) == [*score, ("126401", "10.00"), ("126032", "4.02"), ("126033", "33.40")]
    assert values(slices) == [("EGFRDLS-SLICE", v) for v in ("0.6512", "0.7304", "0.7478")]
    assert values(patient) == score
    assert [g["TrackingIdentifier"] for g in document["Measurements"]] == [
        "Lesion 1",
        "Lesion 1, slice scores",
        "Patient",
    ]
    assert lesion["ReferencedSegment"] == 1
    assert (lesion["Finding"]["CodeMeaning"], lesion["FindingSite"]["CodeMeaning"]) == ("Neoplasm", "Lung")


@pytest.mark.parametrize(("case", "lesions"), [(refused(), 0), (two_lesions(), 2)], ids=["refused", "in part"])
def test_dcmqi_reads_reports_without_or_in_part_without_scores(case: Case, lesions: int, tmp_path: Path) -> None:
    (report,) = (path for path in written(case, tmp_path) if "report" in path.name)
    document = read_by_dcmqi(report)
    assert document["CompletionFlag"] == "PARTIAL"
    names = [g["TrackingIdentifier"] for g in document["Measurements"]]
    assert sum(name.startswith("Lesion") and "slice" not in name for name in names) == lesions
    assert names[-1] == "Patient"
