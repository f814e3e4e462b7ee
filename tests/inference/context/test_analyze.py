"""`egfr-dls analyze` with the service's configuration knows what the service would know."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from egfr_dls import cli
from tests.builders import to_part10
from tests.inference.packages import network, write_package
from tests.system.study_data import small_study

PATIENT = "P-0042"
UNKNOWN = {"histology": None, "treatment_began": None, "tissue_egfr_mutant": None, "tissue_pdl1_tps_percent": None}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose folder states a tissue result of the patient of ``tmp_path/study``."""
    for i, ds in enumerate(small_study(1, PatientID=PATIENT)):
        (tmp_path / "study").mkdir(exist_ok=True)
        (tmp_path / "study" / f"{i}.dcm").write_bytes(to_part10(ds))
    write_package(tmp_path / "models" / "egfr", network(1), name="tiny-egfr", status="research")
    facts = tmp_path / "facts" / "facts.json"
    facts.parent.mkdir()
    facts.write_text(json.dumps({"patient_id": PATIENT, "tissue_egfr_mutant": True}), encoding="utf-8")
    os.utime(facts, (time.time() - 60.0,) * 2)
    path = tmp_path / "egfr-dls.toml"
    path.write_text(
        f'[storage]\nroot = "{tmp_path / "root"}"\n[inference]\nmodels = "{tmp_path / "models"}"\n'
        f'[context]\nfolder = "{facts.parent}"\n',
        encoding="utf-8",
    )
    return path


def _analyse(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    folder = config.parent
    with pytest.raises(SystemExit) as ended:
        cli.main(
            [
                "analyze",
                str(folder / "study"),
                "--out",
                str(folder / "out"),
                "--config",
                str(config),
                "--json",
                *arguments,
            ]
        )
    assert ended.value.code == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_folder_counts_and_a_file_given_by_hand_replaces_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores are the same; the service's own store is not touched."""
    by_folder = _analyse(config, capsys)
    assert by_folder["clinical_context"] == UNKNOWN | {"tissue_egfr_mutant": True}
    given = config.parent / "context.json"
    given.write_text('{"histology": "adenocarcinoma"}', encoding="utf-8")
    by_hand = _analyse(config, capsys, "--context", str(given))
    assert by_hand["clinical_context"] == UNKNOWN | {"histology": "adenocarcinoma"}
    assert by_hand["patient"]["egfr_dls"] == by_folder["patient"]["egfr_dls"]
    assert not (config.parent / "root").exists()
