"""Independent validators and readers: dicom3tools and DCMTK find nothing wrong and print what we wrote."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from egfr_dls.refusals import Remark
from reporting.context import Predecessor, Revision
from reporting.variants import SR_CLASSES, Variant
from tests.reporting.report_cases import (
    VARIANTS,
    Case,
    lesion_finding,
    refused,
    scored,
    source_images,
    texts,
    two_lesions,
)
from tests.reporting.validators import findings, need, remarks, written

dicom3tools = pytest.mark.dicom3tools
dcmtk = pytest.mark.dcmtk


@dicom3tools
@pytest.mark.parametrize("variant", VARIANTS)
def test_dciodvfy_has_nothing_to_say(variant: str, tmp_path: Path) -> None:
    tool = need("dciodvfy")
    for path in written(VARIANTS[variant]().with_pages(), tmp_path):
        assert findings("dciodvfy", remarks(tool, path)) == [], path.name


@dicom3tools
@pytest.mark.parametrize("case", [scored(), refused(), two_lesions()], ids=["scored", "refused", "in part"])
def test_dciodvfy_has_nothing_to_say_of_any_variant_and_kind(case: Case, tmp_path: Path) -> None:
    tool = need("dciodvfy")
    variants = tuple(
        Variant(uid, segmentation=seg, single_pages=not seg) for uid in SR_CLASSES for seg in (True, False)
    )
    paths = written(case.wanting(variants=variants, pages=True, maps=True, pdf=True), tmp_path)
    assert len(paths) >= 8
    for path in paths:
        assert findings("dciodvfy", remarks(tool, path)) == [], path.name


@dicom3tools
def test_dcentvfy_finds_the_objects_of_two_revisions_consistent(tmp_path: Path) -> None:
    tool = need("dcentvfy")
    first = scored().wanting(pages=True, maps=True, pdf=True, variants=(Variant(), Variant(single_pages=True)))
    report = first.build()["report"].dataset
    before = Predecessor(report.SOPClassUID, report.SOPInstanceUID, report.SeriesInstanceUID, report.StudyInstanceUID)
    second = replace(two_lesions(), revision=Revision(2, before), options=first.options)
    paths = [*written(first, tmp_path, "1-"), *written(second, tmp_path, "2-")]
    assert findings("dcentvfy", remarks(tool, *paths)) == []


@dcmtk
def test_dsrdump_prints_names_and_values(tmp_path: Path) -> None:
    tool = need("dsrdump")
    report = written(scored(), tmp_path)[-1]
    done = subprocess.run([tool, "+Pt", "+Pl", str(report)], capture_output=True, text=True, check=True)
    for expected in (
        '"EGFR deep learning score")="0.7098"',
        '"PD-L1 deep learning score")="0.3121"',
        '"Number of slices scored")="3"',
        '(PATHWAY-TKI,99EGFRDLS,"EGFR TKI pathway")',
    ):
        assert expected in done.stdout


@dcmtk
@pytest.mark.parametrize("variant", VARIANTS)
def test_dsr2html_renders_every_report(variant: str, tmp_path: Path) -> None:
    tool = need("dsr2html")
    report = written(VARIANTS[variant](), tmp_path)[-1]
    page = tmp_path / "report.html"
    subprocess.run([tool, "+Rd", str(report), str(page)], capture_output=True, check=True)
    text = page.read_text(encoding="utf-8")
    expected = ["Not scored because"] if "refused" in variant else ["EGFR deep learning score", "0.7098"]
    assert all(word in text for word in expected)


@dcmtk
@pytest.mark.parametrize("sop_class_uid", SR_CLASSES)
def test_dsr2html_renders_each_class_with_segment_and_without(sop_class_uid: str, tmp_path: Path) -> None:
    tool = need("dsr2html")
    variants = tuple(Variant(sop_class_uid, segmentation=segmentation) for segmentation in (True, False))
    reports = [path for path in written(scored().wanting(variants=variants), tmp_path) if "report" in path.name]
    assert len(reports) == 2
    for report in reports:
        page = report.with_suffix(".html")
        subprocess.run([tool, "+Rd", str(report), str(page)], capture_output=True, check=True)
        text = page.read_text(encoding="utf-8")
        assert all(word in text for word in ("EGFR deep learning score", "0.7098", "EGFR TKI pathway", "Limitations"))


@dcmtk
def test_markup_in_a_name_and_in_a_reason_is_text_to_dsr2html(tmp_path: Path) -> None:
    tool = need("dsr2html")
    case = refused(Remark("NO_ROI", '<b>\u00fc & "none"</b>'), PatientName="<script>alert(1)</script>^'&\"")
    page = tmp_path / "report.html"
    subprocess.run([tool, "+Rd", str(written(case, tmp_path)[0]), str(page)], capture_output=True, check=True)
    text = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>" not in text
    assert "NO_ROI: &lt;b&gt;\u00fc &amp; &quot;none&quot;&lt;/b&gt;" in text


@dicom3tools
def test_what_a_header_smuggles_into_a_sentence_makes_no_object_invalid(tmp_path: Path) -> None:
    """Refusals and regions quote what they found."""
    tool = need("dciodvfy")
    hostile = "SeriesDescription is 'x\x00y\x1b[31m\x07\x85\u2028\ud800\\\"<b>&'"
    region = lesion_finding(roi_description=hostile, roi_drawn_by=hostile, roi_drawn_at="2024-05-01T10:11:12")
    for case in (refused(Remark("NO_ROI", hostile)), scored(lesions=(region,), warnings=(Remark("W", hostile),))):
        for path in written(case.with_pages(), tmp_path):
            assert findings("dciodvfy", remarks(tool, path)) == [], path.name
    report = dcmread(tmp_path / "0-report.dcm")
    assert texts(report, "NOT-SCORED-TEXT") == ["NO_ROI: SeriesDescription is 'x y [31m \\\"<b>&'"]


@dicom3tools
def test_a_poor_header_still_makes_valid_objects(tmp_path: Path) -> None:
    """Absent type 2 attributes, an over-long StudyID and a sex that no defined term names."""
    tool = need("dciodvfy")
    poor = source_images(PatientSex=None, StudyDate=None, StudyID=None, SliceThickness=None, PatientWeight=None)
    for case in (replace(scored(), sources=poor), replace(refused(), sources=poor)):
        for path in written(case, tmp_path):
            assert [line for line in remarks(tool, path) if line.startswith("Error")] == []
