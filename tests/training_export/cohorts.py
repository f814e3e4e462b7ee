"""Small studies with planted identifiers, and one call of ``export-cohort``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from egfr_dls import cli
from tests.builders import to_part10
from tests.system.study_data import small_study

# keyword -> what is planted there; none of it may be in any exported byte. Numbers have eight digits, so that chance does not
# write them into a digest.
PLANTED: dict[str, str] = {
    "PatientName": "ZWINGENBERGER^HEDWIG",
    "PatientID": "MRN-58812077",
    "IssuerOfPatientID": "KLINIKUM-SEESTADT",
    "PatientBirthDate": "19410213",
    "OtherPatientNames": "GEB^MOOSHAMMER",
    "PatientBirthName": "MOOSHAMMER^HEDWIG",
    "PatientMotherBirthName": "OSTERKAMP",
    "PatientAddress": "Lindenallee 17",
    "PatientTelephoneNumbers": "06221-558812",
    "PatientComments": "comes with her daughter Friederike",
    "AdditionalPatientHistory": "adenocarcinoma known since spring",
    "EthnicGroup": "Sorbian",
    "Occupation": "organist",
    "AccessionNumber": "ACC77120934",
    "StudyID": "ST9931",
    "StudyDescription": "PET for Prof. Quellenberg",
    "SeriesDescription": "for ward Sonnenblick",
    "ProtocolName": "Quellenberg-Protokoll",
    "InstitutionName": "Klinikum Seestadt",
    "InstitutionAddress": "Hafenstrasse 3",
    "InstitutionalDepartmentName": "Nuklearmedizin Seestadt",
    "ReferringPhysicianName": "QUELLENBERG^ALOIS",
    "PhysiciansOfRecord": "TANNHEIMER^JUTTA",
    "PerformingPhysicianName": "WOLKENSTEIN^PIA",
    "OperatorsName": "BRECHTMANN^UTE",
    "ImageComments": "patient Zwingenberger moved",
    "DerivationDescription": "reconstructed by Brechtmann",
    "RequestingPhysician": "QUELLENBERG^ALOIS",
    "RequestedProcedureDescription": "restaging of Frau Zwingenberger",
    "MedicalRecordLocator": "Keller 4711-0815",
    "DeviceDescription": "scanner beside the chapel",
    "ContentCreatorName": "KRITZELMEIER^TIM",
    "ReviewerName": "KRITZELMEIER^TIM",
}
PRIVATE_TEXT, OVERLAY_TEXT, NESTED_TEXT, KEPT_TEXT = (
    "privates Geheimnis",
    "OVERLAYZEICHEN",
    "Auftrag-66120098",
    "Zwingenberger Spezial",
)
SECRETS = (
    *(part for value in PLANTED.values() for part in (value, *value.split("^"))),
    PRIVATE_TEXT, OVERLAY_TEXT, NESTED_TEXT, KEPT_TEXT, "Zwingenberger", "Quellenberg", "Seestadt", "MOOSHAMMER",
)  # fmt: skip


def planted_study(number: int, **attributes: Any) -> list[Dataset]:
    """Return a small study whose every instance names its patient wherever a header can."""
    datasets = small_study(number, **{**PLANTED, **attributes})
    for ds in datasets:
        plant(ds)
    return datasets


def plant(ds: Dataset) -> None:
    """Hide identifiers beyond the standard places: private, nested, in an overlay, in a text that stays."""
    ds.private_block(0x0011, "HOSPITAL GROUP", create=True).add_new(0x01, "LO", PRIVATE_TEXT)
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = NESTED_TEXT, NESTED_TEXT
    ds.RequestAttributesSequence = Items([request])
    ds.add_new(0x60003000, "OB", OVERLAY_TEXT.encode())
    ds.add_new(0x60000022, "LO", OVERLAY_TEXT)
    ds.ManufacturerModelName = KEPT_TEXT


def write_files(datasets: Sequence[Dataset], folder: Path) -> Path:
    """Write each instance to a file whose name says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, ds in enumerate(datasets):
        (folder / f"{number:04d}.dcm").write_bytes(to_part10(deepcopy(ds)))
    return folder


@dataclass
class Ended:
    """How a call ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """cohort.json."""
        document: dict[str, Any] = json.loads((self.folder / "cohort.json").read_text(encoding="utf-8"))
        return document

    def files(self) -> dict[str, bytes]:
        """Every file of the cohort."""
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()}


def call(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> Ended:
    """Run the command."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["export-cohort", "--out", str(out), *(str(argument) for argument in arguments)])
    said = capsys.readouterr()
    return Ended(int(ended.value.code or 0), said.out, said.err, out)


def found_secrets(files: dict[str, bytes], secrets: Sequence[str]) -> list[tuple[str, str]]:
    """Return which secrets stand in which file, in any of the encodings that DICOM and the tables use."""
    return [
        (name, secret)
        for name, data in files.items()
        for secret in secrets
        if len(secret) > 3 and any(form.encode() in data for form in (secret, secret.lower(), secret.upper()))
    ]


def rows(ended: Ended, name: str) -> list[dict[str, str]]:
    """Read a table of the cohort."""
    return list(csv.DictReader(io.StringIO((ended.folder / name).read_text(encoding="utf-8"), newline="")))


def arrays(ended: Ended) -> dict[str, NDArray[Any]]:
    """Return the arrays of the only study."""
    (path,) = (ended.folder / "hyperimages").glob("*.npz")
    with np.load(path) as held:
        return {name: held[name] for name in held.files}
