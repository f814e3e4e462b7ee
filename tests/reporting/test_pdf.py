"""The PDF: the drawn pages, one a page, in an object that points at its report."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from reporting.build import to_bytes
from reporting.page_drawing import HEIGHT, WIDTH
from reporting.secondary_capture import frames
from reporting.variants import SR_CLASSES, Variant
from tests.reporting.report_cases import Case, demonstration, refused, scored
from tests.reporting.validators import need

WANTED = {"pages": True, "pdf": True}


def pdf(case: Case) -> Dataset:
    return dcmread(io.BytesIO(to_bytes(case.wanting(**WANTED).build()["pdf"])))


def test_it_goes_last_and_points_at_its_report() -> None:
    case = scored().wanting(**WANTED, variants=(Variant(), Variant(SR_CLASSES[2])))
    made = case.build_all()
    assert [m.kind for m in made] == ["roi", "report", "report", "pages", "pdf", "pdf"]
    pointed = [m.dataset.SourceInstanceSequence[0].ReferencedSOPInstanceUID for m in made[4:]]
    assert pointed == [m.sop_instance_uid for m in made[1:3]]
    assert [m.variants for m in made[4:]] == [m.variants for m in made[1:3]]
    assert made[4].sop_instance_uid != made[5].sop_instance_uid


def test_it_is_off_by_default_and_needs_no_page_images_beside_it() -> None:
    assert "pdf" not in scored().with_pages().build()
    assert list(refused().wanting(pdf=True).build()) == ["report", "pdf"]


def test_the_object_says_what_it_is() -> None:
    ds = pdf(scored())
    assert (ds.Modality, ds.SeriesNumber, ds.MIMETypeOfEncapsulatedDocument) == ("DOC", 9005, "application/pdf")
    assert ds.DocumentTitle == ds.SeriesDescription == "EGFR-DLS report PDF (research)"
    assert ds.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert (ds.BurnedInAnnotation, ds.ConversionType) == ("YES", "WSD")
    document = ds.EncapsulatedDocument
    assert len(document) % 2 == 0
    assert document[: ds.EncapsulatedDocumentLength].rstrip(b"\n").endswith(b"%%EOF")
    assert pdf(demonstration(scored())).DocumentTitle == "EGFR-DLS DEMONSTRATION, not a patient result"


def test_no_date_of_writing_stands_in_it() -> None:
    assert b"CreationDate" not in pdf(refused()).EncapsulatedDocument


@pytest.mark.parametrize("case", [scored(), refused()], ids=["scored", "refused"])
def test_another_program_finds_the_same_pages_one_a_sheet(case: Case, tmp_path: Path) -> None:
    """Poppler; the difference is JPEG's."""
    tool = need("pdfimages")
    (tmp_path / "report.pdf").write_bytes(pdf(case).EncapsulatedDocument)
    sheets = subprocess.run([tool, "-list", "report.pdf"], cwd=tmp_path, check=True, capture_output=True, text=True)
    drawn = frames(case.with_pages().build()["pages"].dataset)
    assert [line.split()[0] for line in sheets.stdout.splitlines()[2:]] == [str(n + 1) for n in range(len(drawn))]
    subprocess.run([tool, "-all", "report.pdf", "page"], cwd=tmp_path, check=True)
    pictures = [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("page*.jpg"))]
    for picture, frame in zip(pictures, drawn, strict=True):
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(picture.astype(int) - frame.astype(int)).mean() < 1.0
