"""The inputs digest sees every value that ends in the objects."""

from __future__ import annotations

from pydicom.dataset import Dataset

from egfr_dls.refusals import Remark
from inference.biomarkers.clinical_context import UNKNOWN, ClinicalContext, Histology
from inference.inputs import inputs_sha256

WARNING = Remark("ROI_AMBIGUOUS", "no stored ROI is marked as a tumour")


def test_a_warning_alone_makes_another_report() -> None:
    plain = inputs_sha256((), (), Dataset(), UNKNOWN, ())
    assert inputs_sha256((), (), Dataset(), UNKNOWN, (WARNING,)) != plain


def test_clinical_facts_make_another_report() -> None:
    known = ClinicalContext(Histology.ADENOCARCINOMA)
    assert inputs_sha256((), (), Dataset(), known, ()) != inputs_sha256((), (), Dataset(), UNKNOWN, ())
