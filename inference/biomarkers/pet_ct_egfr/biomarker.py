"""What the stage needs to know of this biomarker."""

from __future__ import annotations

from egfr_dls import biomarkers
from inference.biomarkers.contract import Biomarker, NetworkNeed
from inference.biomarkers.pet_ct_egfr.analysis import analyse

PET_CT_EGFR = Biomarker(
    rule=biomarkers.PET_CT_EGFR,
    preprocessing_id="mu2020-hyperimage-1",
    networks=(
        NetworkNeed(task="egfr", setting="model", required=True),
        NetworkNeed(task="pdl1", setting="companion_model", required=False),
    ),
    analyse=analyse,
)
