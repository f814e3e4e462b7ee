"""Bad tables: each fault is said by row and column, and nothing of a cell is printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egfr_dls.errors import UsageError
from training_export.evaluation.patients import PatientTable, read_patients
from training_export.evaluation.slices import ScoreFile, joined_labels, read_scores

SECRET = "MUELLER-19500101"
GOOD = f"patient,slice,p0,p1\n{SECRET},1,0.4,0.6\n{SECRET},2,0.7,0.3\nb,1,0.5,0.5\n"


def patients(tmp_path: Path, text: str, strata: str | None = None) -> PatientTable:
    path = tmp_path / "patients.csv"
    path.write_text(text, encoding="utf-8")
    return read_patients(path, 30.0, strata)


def slices(tmp_path: Path, text: str) -> ScoreFile:
    path = tmp_path / "slices.csv"
    path.write_text(text, encoding="utf-8")
    return read_scores("--slices", path, {SECRET: 0, "b": 1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows under a header"),
        ("patient,slice,p0,p1\n", "no rows under a header"),
        ("name,slice,p0,p1\na,1,0.5,0.5\n", "no column patient"),
        ("patient;slice;p0;p1\na;1;0,5;0,5\n", "cells seem to have ';' between them"),
        ("patient,slice,p1\na,1,0.5\n", "needed: columns patient,slice,p0,p1, or patient,score"),
        ("patient,slice,p0,p1,p1\na,1,0.5,0.5,0.5\n", "more than one column p1"),
        (f"patient,slice,p0,p1\n{SECRET},1,0.5\n", "row 2: 3 cells, the header has 4"),
        (f"patient,slice,p0,p1\n{SECRET},1,0.4,nan\n", "row 2, column p1: not a finite number"),
        (f"patient,slice,p0,p1\n{SECRET},1,0.4,inf\n", "row 2, column p1: not a finite number"),
        (f"patient,slice,p0,p1\n{SECRET},1,0.4,1e999\n", "row 2, column p1: not a finite number"),
        (f"patient,slice,p0,p1\n{SECRET},1,1,\n", "row 2, column p1: blank"),
        (f"patient,slice,p0,p1\n{SECRET},1,1_0,0.5\n", "row 2, column p0: not a finite number"),
        (f"patient,slice,p0,p1\n{SECRET},1,-0.1,1.1\n", "row 2, column p0: out of range"),
        (f"patient,slice,p0,p1\n{SECRET},1,0.4,0.61\n", "row 2, column p1: p0 + p1 is not 1"),
        (f"{GOOD}{SECRET},2,0.7,0.3\n", "row 5: the slice of row 3 again"),
        (f"patient,slice,p0,p1\n,1,0.4,0.6\n{SECRET},1,0.4,0.6\n", "row 2, column patient: blank"),
        (f"patient,slice,p0,p1,model\n{SECRET},1,0.4,0.6,alk\n", "row 2, column model: unknown"),
        (f"patient,slice,p0,p1,label\n{SECRET},1,0.4,0.6,mutant\n", "row 2, column label: not a finite number"),
        (f"patient,slice,p0,p1,label\n{SECRET},1,0.4,0.6,2\n", "row 2, column label: out of range"),
        (
            f"patient,slice,p0,p1,label\n{SECRET},1,0.4,0.6,1\n{SECRET},2,0.4,0.6,0\n",
            "row 3, column label: another label",
        ),
        (f"patient,slice,p0,p1,area_mm2\n{SECRET},1,0.4,0.6,0\n", "row 2, column area_mm2: out of range"),
        (f"patient,score\n{SECRET},0.4\n{SECRET},0.4\n", "row 3: the slice of row 2 again"),
        (f'patient,slice,p0,p1\n"{SECRET},1,0.4,0.6\n', "no CSV file"),
    ],
)
def test_what_is_wrong_with_scores(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        slices(tmp_path, text)
    message = str(error.value)
    assert said in message
    assert message.startswith("--slices slices.csv: ")
    assert "needed: " in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"patient\n{SECRET}\nb\n{SECRET}\n", "row 4: the patient of row 2 again"),
        (f"patient,label\n{SECRET},1\n,1\n", "row 3, column patient: blank"),
        (f"patient,label\n{SECRET},yes\n", "row 2, column label"),
        (f"patient,label\nb,1\n\n{SECRET},0.5\n", "row 4, column label: out of range"),
        (f"patient,pfs_months\n{SECRET},-1\n", "row 2, column pfs_months: out of range"),
        (f"patient,pfs_months\n{SECRET},1/2\nb,x\n", "row 2, column pfs_months: not a finite number (and 1 more rows)"),
        (f"patient,pfs_months,pfs_days\n{SECRET},1,30\n", "both columns pfs_months and pfs_days"),
        (f"patient,progression\n{SECRET},3\n", "row 2, column progression"),
        (f"patient,response\n{SECRET},better\n", "row 2, column response: none of these"),
        (
            "patient,cohort\n" + "".join(f"p{i},{SECRET}{i}\n" for i in range(30)),
            "column cohort has 30 different values",
        ),
    ],
)
def test_what_is_wrong_with_patients(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        patients(tmp_path, text)
    assert said in str(error.value)
    assert SECRET not in str(error.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "slices.csv").write_bytes(b"patient,score\nM\xfcller,0.5\n")
    with pytest.raises(UsageError, match="no UTF-8 text"):
        read_scores("--slices", tmp_path / "slices.csv", {})


@settings(deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_no_text_ends_otherwise_than_with_a_message(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for reader in (slices, patients):
        try:
            reader(folder, "patient,score,label,pfs_days\n" + text)
        except UsageError as error:
            assert "needed: " in str(error)


def test_labels_that_contradict(tmp_path: Path) -> None:
    """The slices say mutant, the patients' table says wild type: neither is believed."""
    table = patients(tmp_path, f"patient,label\n\nb,1\n{SECRET},0\n")
    file = read_scores("--slices", _written(tmp_path, f"patient,score,label\n{SECRET},0.4,1\nb,0.2,1\n"), table.row_of)
    with pytest.raises(UsageError, match=r"the label of 1 patients is another than column label .* row 4") as error:
        joined_labels(table.patients, file, "egfr")
    assert SECRET not in str(error.value)


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_come_from_either_table(tmp_path: Path) -> None:
    table = patients(tmp_path, "patient,label\na,1.0\nb,\nc,\n")
    file = read_scores("--slices", _written(tmp_path, "patient,score,label\na,0.4,\nb,0.2,0.0\nc,0.1,\n"), table.row_of)
    np.testing.assert_array_equal(joined_labels(table.patients, file, "egfr"), [1, 0, np.nan])


def test_what_is_read(tmp_path: Path) -> None:
    """A byte-order mark, quotes, blanks round cells, blank lines, further columns, a patient that nobody knows."""
    text = (
        '\ufeffPatient , slice,p0,p1,model,remark\n\n"b",1, 0.25 ,0.75,PDL1,"a, b"\nx,1,0.5,.5,,\n'
        + f"{SECRET},1,5e-1,0.5,egfr,\n"
    )
    found = slices(tmp_path, text)
    assert found.slices["pdl1"].patient.tolist() == [1]
    assert found.slices["pdl1"].score.tolist() == [0.75]
    assert found.slices["egfr"].patient.tolist() == [0]
    assert found.unmatched == {"egfr": 1, "pdl1": 0}


def test_days_become_months(tmp_path: Path) -> None:
    table = patients(tmp_path, "patient,pfs_days,progression\na,45,1\nb,,0\n")
    np.testing.assert_array_equal(table.patients.months, [1.5, np.nan])


def test_responses_by_recist_or_number(tmp_path: Path) -> None:
    table = patients(tmp_path, "patient,response\na,CR\nb,pr\nc,SD\nd,PD\ne,NE\nf,1\ng,0.0\nh,\n")
    np.testing.assert_array_equal(table.patients.response, [1, 1, 0, 0, np.nan, 1, 0, np.nan])


def test_strata_of_a_measured_column_are_halves(tmp_path: Path) -> None:
    table = patients(tmp_path, "patient,age\na,50\nb,60\nc,70\nd,\n", "age")
    assert table.patients.stratum.tolist() == ["age <= 60", "age <= 60", "age > 60", "unknown"]


@pytest.mark.parametrize("column", ["patient", "pfs_days", "stage"])
def test_no_strata_of_identifiers_or_of_nothing(tmp_path: Path, column: str) -> None:
    with pytest.raises(UsageError, match="no column of groups"):
        patients(tmp_path, "patient,pfs_days,sex\na,1,f\n", column)


def test_more_than_twenty_groups_are_none(tmp_path: Path) -> None:
    text = "patient,accession\n" + "".join(f"p{i},{SECRET}{i}\n" for i in range(21))
    with pytest.raises(UsageError, match="21 different values") as error:
        patients(tmp_path, text, "accession")
    assert SECRET not in str(error.value)
