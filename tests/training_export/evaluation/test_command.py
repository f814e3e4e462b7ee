"""`egfr-dls evaluate`, as a physicist would use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from egfr_dls import cli
from egfr_dls.errors import ExitCode
from tests.training_export.evaluation_tables import IDENTIFIER, Tables, Truth, simulated, write_tables
from training_export.evaluation import command

HEAVY = ("pandas", "sklearn", "lifelines", "statsmodels")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A made-up cohort of two sites, one with a name that an HTML file must not take for its own."""
    return simulated(tmp_path_factory.mktemp("cohort"), Truth(n=80), cohorts=("north", "<b>south & east</b>"))


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Run the command line; returns exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_document_plots_and_report(tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "evaluation.json"
    code, printed, _ = run(
        capsys, *tables.arguments, "--out", out, "--plots", tmp_path / "plots", "--report", "HTML", "--strata", "sex"
    )
    assert code == ExitCode.DONE, printed
    assert printed.startswith("Research use only, not for diagnosis.\n")
    assert "north: 40 patients, 120 slices" in printed
    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["settings"]["strata"] == "sex"
    kinds = ("calibration", "distributions", "roc", "survival")
    names = {
        f"{kind}-{cohort}.{form}" for kind in kinds for cohort in ("north", "b-south-east-b") for form in ("png", "svg")
    }
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names
    report = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "<b>south" not in report
    assert "&lt;b&gt;south &amp; east&lt;/b&gt;" in report
    assert report.count("<img ") == 8
    assert IDENTIFIER not in report + printed + json.dumps(document)
    assert "http" not in report.replace("data:image", "")  # it loads nothing from elsewhere


def test_same_tables_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Documents, reports and plots carry no clock and no chance."""
    small = write_tables(tmp_path, {"label": [1, 0, 1, 0]}, {"egfr": [[0.8], [0.3], [0.6], [0.7]]})
    written = []
    for name in ("first", "second"):
        folder = tmp_path / name
        for report in ("e.html", "e.pdf"):
            options = ("--out", folder / "e.json", "--report", folder / report, "--plots", folder)
            code, _, _ = run(capsys, *small.arguments, *options)
            assert code == ExitCode.DONE
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert {"e.json", "e.html", "e.pdf", "roc-all.svg", "calibration-all.png"} < set(written[0])
    assert written[0] == written[1]


def test_json_on_standard_output_is_the_document(
    tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, _ = run(capsys, *tables.arguments, "--out", tmp_path / "e.json", "--json")
    assert code == ExitCode.DONE
    assert printed == (tmp_path / "e.json").read_text(encoding="utf-8")


def test_raters_after_one_option_or_several(tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--raters a.csv b.csv c.csv` and `--raters a.csv --raters b.csv --raters c.csv` are the same."""
    found = []
    for given in (["--raters", *[tables.slices] * 3], ["--raters", tables.slices] * 3):
        code, printed, _ = run(capsys, *tables.arguments, *given, "--out", tmp_path / "e.json", "--json")
        assert code == ExitCode.DONE
        found.append(json.loads(printed))
    assert found[0] == found[1]
    assert found[0]["agreement"]["raters"] == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--cut-off", "1.5"], "--cut-off"),
        (["--aggregate", "mode"], "no such rule; needed: mean, median"),
        (["--report", "report.docx"], "needed: a file ending in .html or .pdf"),
        (["--strata", "patient"], "no column of groups"),
        (["--days-per-month", "0"], "--days-per-month"),
        (["--compare", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_wrong_options(
    tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    code, _, error = run(capsys, *tables.arguments, "--out", tmp_path / "e.json", *more)
    assert code == ExitCode.USAGE
    assert said in error
    assert not (tmp_path / "e.json").exists()


def test_files_that_no_option_names(tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, *tables.arguments, tables.slices, "--out", tmp_path / "e.json")
    assert code == ExitCode.USAGE
    assert "--raters before it" in error
    code, _, error = run(capsys, *tables.arguments, "--raters", tables.slices, "--out", tmp_path / "e.json")
    assert code == ExitCode.USAGE
    assert "at least two raters" in error


def test_a_bad_cell_is_named_and_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = write_tables(tmp_path, {"label": [1, IDENTIFIER]}, {"egfr": [[0.8], [0.3]]})
    code, printed, _ = run(capsys, *tables.arguments, "--out", tmp_path / "e.json", "--json")
    assert code == ExitCode.USAGE
    message = json.loads(printed)["error"]["message"]
    assert message.startswith("--patients patients.csv: row 3, column label: not a finite number")
    assert IDENTIFIER not in printed


def test_without_the_extra_it_says_what_to_install(
    tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MODULES", {"no_such_module": "scikit-learn"})
    code, _, error = run(capsys, *tables.arguments, "--out", tmp_path / "e.json")
    assert code == ExitCode.CONFIGURATION
    assert "scikit-learn not installed; needed: the extra evaluate" in error


def test_nothing_heavy_is_loaded_but_by_the_command() -> None:
    """Neither for `--help` nor in the service: its processes would be a hundred megabytes larger each."""
    program = (
        "import sys, egfr_dls.cli, egfr_dls.service_commands, egfr_dls.supervisor, listener.stage, inference.stage, "
        "reporting.stage\n"
        "from click.testing import CliRunner\n"
        "result = CliRunner().invoke(egfr_dls.cli.cli, ['--help'])\n"
        "assert 'evaluate' in result.output, result.output\n"
        f"print('loaded:', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "loaded:"
