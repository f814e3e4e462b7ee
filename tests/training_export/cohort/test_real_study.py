"""A real study as a cohort."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from tests.reporting.validators import need, remarks
from tests.training_export.cohorts import arrays, call, found_secrets, rows

Capsys = pytest.CaptureFixture[str]


@pytest.mark.shared_data
@pytest.mark.dicom3tools
def test_a_real_study_keeps_its_images_and_loses_its_header(
    shared_data: Path, tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    """ACRIN 042: its own region by the site's rule; the copies are analysed like the original, and valid where it was."""
    folder = shared_data / "petct_lung_acrin042"
    site = tmp_path / "site.toml"
    site.write_text(config.read_text() + '[biomarkers.pet_ct_egfr]\nroi_label_pattern = "^pt_segment_1$"\n')
    first = call(capsys, tmp_path / "a", "--from", folder, "--config", site, "--dicom")
    assert first.code == 0, first.err
    (copies,) = (first.folder / "dicom").iterdir()
    again = call(capsys, tmp_path / "b", "--from", copies, "--config", config)
    assert arrays(first)["images"].tobytes() == arrays(again)["images"].tobytes()
    assert rows(first, "lesions.csv")[0]["suv_max"] == rows(again, "lesions.csv")[0]["suv_max"]
    original = [dcmread(p, stop_before_pixels=True) for p in sorted(folder.rglob("*.dcm"))]
    values = {str(ds.get(k, "")) for ds in original for k in ("PatientID", "PatientName", "StudyID", "AccessionNumber")}
    values |= {str(ds.SOPInstanceUID) for ds in original} | {str(ds.StudyInstanceUID) for ds in original}
    values |= {str(ds.get("InstitutionName", "")) for ds in original}
    assert found_secrets(first.files(), sorted(v for v in values if len(v) > 4)) == []
    errors = {p: _errors(p) for p in (folder / "CT_CT_IMAGES_858561", folder / "PT_PET_AC_081015")}
    errors[folder] = _errors(*(p for p in folder.iterdir() if p.name.startswith("SEG_PT-Seg")))
    for name, before in zip(("ct-0001.dcm", "pt-0001.dcm", "roi-0001.dcm"), errors.values(), strict=True):
        assert _errors(copies / name) <= before, name


@pytest.mark.shared_data
@pytest.mark.filterwarnings("ignore:The value length")  # a StudyID of 18 characters
def test_a_region_of_another_body_part_is_exported_as_it_would_be_scored(
    shared_data: Path, tmp_path: Path, config: Path, capsys: Capsys
) -> None:
    ended = call(capsys, tmp_path / "out", "--from", shared_data / "pet_rtstruct_sts", "--config", config, "--dicom")
    assert ended.code == 3, ended.err
    codes = {row["code"] for row in rows(ended, "refused.csv")}
    assert ended.manifest["counts"]["exported"] == 2 and codes == {"SERIES_MISSING"}  # STS_006 has no CT


def _errors(*paths: Path) -> set[str]:
    """Return what dciodvfy calls an error in a file, or in the first file of a folder."""
    files = [path if path.is_file() else min(path.rglob("*.dcm")) for path in paths]
    return {line for file in files for line in remarks(need("dciodvfy"), file) if line.startswith("Error")}
