"""The inputs digest sees every value that ends in the objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from egfr_dls import settings
from egfr_dls.refusals import Remark
from egfr_dls.study import Confirmation, RoiSource
from inference.biomarkers.clinical_context import UNKNOWN, ClinicalContext, Histology
from inference.inputs import inputs_sha256, preprocessing_sha256
from inference.models.manifest import Preprocessing
from inference.roi.region import Roi

WARNING = Remark("ROI_AMBIGUOUS", "no stored ROI is marked as a tumour")


def test_a_warning_alone_makes_another_report() -> None:
    plain = inputs_sha256((), (), Dataset(), UNKNOWN, ())
    assert inputs_sha256((), (), Dataset(), UNKNOWN, (WARNING,)) != plain


def test_clinical_facts_make_another_report() -> None:
    known = ClinicalContext(Histology.ADENOCARCINOMA)
    assert inputs_sha256((), (), Dataset(), known, ()) != inputs_sha256((), (), Dataset(), UNKNOWN, ())


def test_who_confirmed_a_region_and_when_makes_another_report() -> None:
    roi = Roi("Lesion 1", np.ones((1, 2, 2), dtype=bool), RoiSource.PROPOSED, True, "2.25.1", 1.0, None, "how")
    said = [None, *(Confirmation("2.25.1", "Lesion 1", by, at) for by, at in (("a", "1"), ("b", "1"), ("a", "2")))]
    digests = {inputs_sha256((), [replace(roi, confirmation=c)], Dataset(), UNKNOWN, ()) for c in said}
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("recipe", "sections"),
    [
        ({"margin_mm": 12}, {}),
        ({"cut_off": 0.4}, {}),
        ({"aggregate": "median"}, {}),
        ({}, {"biomarkers": {"pet_ct_egfr": {"stored_roi_is": "box"}}}),
        ({}, {"inference": {"registration": "always"}}),
    ],
)
def test_what_changes_what_the_network_sees_is_another_preprocessing(
    recipe: dict[str, Any], sections: dict[str, Any]
) -> None:
    root = {"storage": {"root": "store"}}
    plain = preprocessing_sha256(Preprocessing(), settings.load(None, root))
    assert preprocessing_sha256(Preprocessing(**recipe), settings.load(None, {**root, **sections})) != plain
    other = settings.load(None, {**root, "reporting": {"pages": False}})
    assert preprocessing_sha256(Preprocessing(), other) == plain
