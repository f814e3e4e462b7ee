"""A clinical context from a JSON file: what a site knows of the patient from outside the images."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from egfr_dls.errors import UsageError
from inference.biomarkers.clinical_context import ClinicalContext, Histology


class _ContextFile(BaseModel):
    """The file's keys; every one may be left out, and null means unknown."""

    model_config = ConfigDict(extra="forbid", strict=False)

    histology: Histology = Histology.UNKNOWN
    treatment_began: bool | None = None
    tissue_egfr_mutant: bool | None = None
    tissue_pdl1_tps_percent: float | None = Field(None, ge=0, le=100)


def read_context(path: Path) -> ClinicalContext:
    """Read ``{"histology": "adenocarcinoma", "treatment_began": false, "tissue_egfr_mutant": null, ...}``.

    Raises
    ------
    UsageError
        no such file, no JSON, an unknown key or a value that the key does not take
    """
    try:
        facts = _ContextFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--context {path}: {error.strerror}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'file'}: {f['msg']}" for f in error.errors())
        known = ", ".join(_ContextFile.model_fields)
        raise UsageError(f"--context {path}: {faults}; needed: one JSON object with any of {known}") from error
    return ClinicalContext(
        facts.histology, facts.treatment_began, facts.tissue_egfr_mutant, facts.tissue_pdl1_tps_percent
    )
