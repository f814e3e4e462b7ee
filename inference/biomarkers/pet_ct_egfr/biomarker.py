"""What the stage needs to know of this biomarker."""

from __future__ import annotations

from collections.abc import Collection

from inference.biomarkers.contract import Biomarker, NetworkNeed
from inference.biomarkers.pet_ct_egfr.analysis import analyse


def _asked_by(modalities: Collection[str]) -> bool:
    """A study that holds a PET series asks for a score; one without is none of ours, and gets no refusal."""
    return "PT" in modalities


PET_CT_EGFR = Biomarker(
    name="pet_ct_egfr",
    title="EGFR status of non-small-cell lung cancer on FDG PET/CT",
    roles={"ct": "CT", "pet": "PT"},
    preprocessing_id="mu2020-hyperimage-1",
    networks=(
        NetworkNeed(task="egfr", setting="model", required=True),
        NetworkNeed(task="pdl1", setting="companion_model", required=False),
    ),
    asked_by=_asked_by,
    analyse=analyse,
)
