"""A site's clinical facts are read as they are, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from egfr_dls.errors import UsageError
from inference.biomarkers.clinical_context import ClinicalContext, Histology
from inference.biomarkers.context_file import read_context


def test_facts_are_read_and_what_is_left_out_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_text('{"histology": "adenocarcinoma", "tissue_pdl1_tps_percent": 40, "treatment_began": null}')
    assert read_context(file) == ClinicalContext(Histology.ADENOCARCINOMA, None, None, 40.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"histologie": "adenocarcinoma"}', "histologie"),
        ('{"histology": "small cell"}', "histology"),
        ('{"tissue_pdl1_tps_percent": 140}', "less than or equal to 100"),
        ("[1", "file"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "context.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_context(file)


def test_a_missing_file_is_a_wrong_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_context(tmp_path / "none.json")
