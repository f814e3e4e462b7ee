"""PixelMed holds our reports to TID 1500 and its templates, row by row (PS3.16); what it says beyond known noise is a fault."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import UID

from reporting.variants import SR_CLASSES, Variant
from tests.builders import CT_SERIES_UID, PET_SERIES_UID
from tests.reporting.report_cases import Case, name_of, refused, scored, two_lesions
from tests.reporting.validators import findings, need

pytestmark = [pytest.mark.system, pytest.mark.pixelmed]

PIXELMED = "/usr/share/java/pixelmed.jar"  # Debian's wrapper lacks the limits, and fails on JDK 17
# One core and no optimising compiler: a run ends before that would pay.
JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx3g", "-Xss512m",
        *(f"-Djdk.xml.xpath{limit}Limit=0" for limit in ("TotalOp", "ExprOp", "ExprGrp")),
        "-cp", PIXELMED, "com.pixelmed.validate.DicomSRValidator")  # fmt: skip
THREE_D, COMPREHENSIVE, ENHANCED = SR_CLASSES


def one_slice(case: Case) -> Case:
    """Return a study of which one slice was read: the validator's time grows with the image library."""
    lesions = tuple(replace(lesion, slices=lesion.slices[:1]) for lesion in case.findings.lesions)
    return case.but(lesions=lesions, images_read=tuple(f"{uid}.4" for uid in (CT_SERIES_UID, PET_SERIES_UID)))


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


def said_of(ds: Dataset, folder: Path) -> list[str]:
    """Return what the validator says; it ends with 0 in any case, so it must have named the template it held the report to."""
    report = folder / "report.dcm"
    ds.save_as(report, enforce_file_format=True)
    done = subprocess.run([need("java"), *JAVA, str(report)], capture_output=True, text=True, check=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines
    assert "IOD validation complete" in lines
    return [line for line in lines if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize(
    ("sop_class_uid", "make", "template"),
    [(THREE_D, scored, "1411"), (THREE_D, scored, "1501"), (COMPREHENSIVE, two_lesions, "1411"), (ENHANCED, two_lesions, "1501")],
    ids=["lesion-88.34", "slices and patient-88.34", "lesions in part-88.33", "slices and patient in part-88.22"],
)  # fmt: skip
def test_groups_of_a_score(sop_class_uid: UID, make: Callable[[], Case], template: str, tmp_path: Path) -> None:
    report = one_slice(make()).wanting(variants=(Variant(sop_class_uid),)).build()["report"].dataset
    assert findings("DicomSRValidator", said_of(only_groups(report, template), tmp_path)) == []


def test_lesion_without_a_segment(tmp_path: Path) -> None:
    """What a destination gets that takes no SEG: TID 1501 only."""
    report = (
        one_slice(scored()).wanting(variants=(Variant(COMPREHENSIVE, segmentation=False),)).build()["report"].dataset
    )
    assert findings("DicomSRValidator", said_of(report, tmp_path)) == []


@pytest.mark.parametrize("sop_class_uid", [THREE_D, ENHANCED])
def test_refusal(sop_class_uid: UID, tmp_path: Path) -> None:
    report = refused().wanting(variants=(Variant(sop_class_uid),)).build()["report"].dataset
    assert findings("DicomSRValidator", said_of(report, tmp_path)) == []


def test_missing_rows_are_found(tmp_path: Path) -> None:
    """In a mixed report it asks for the rows of TID 1411 in every group: why halves are validated, and that it can find."""
    report = one_slice(scored()).build()["report"].dataset
    report.ContentSequence = [
        item for item in report.ContentSequence if name_of(item) != "111028"
    ]  # saves half the time
    found = findings("DicomSRValidator", said_of(report, tmp_path))
    assert {line.rpartition(": ")[2] for line in found if line.startswith("Error")} == {
        "Missing conditional content item"
    }
