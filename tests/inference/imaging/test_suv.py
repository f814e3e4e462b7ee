"""SUVbw of a valid header, and the contracts of its rules."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from egfr_dls.errors import StudyRefusedError
from inference.imaging.body_size import NORMS
from inference.imaging.suv import FactorSource
from inference.imaging.suv_header import TAGS
from inference.imaging.suv_times import ReferenceSource
from tests import builders
from tests.inference.imaging.pet_headers import (
    scale_of,
    to_dose,
)


def test_the_builders_series_has_the_builders_factor() -> None:
    scale = scale_of(builders.pet_slices())
    assert scale.factor == pytest.approx(builders.SUV_FACTOR, rel=1e-12)
    assert scale.factor_source is FactorSource.FORMULA
    assert scale.reference_source is ReferenceSource.SERIES
    assert scale.uptake_minutes == 60.0
    assert scale.warnings == ()


def test_tags_in_messages_are_those_of_the_dictionary() -> None:
    for keyword, shown in TAGS.items():
        if " " not in keyword:
            assert shown == str(Tag(tag_for_keyword(keyword) or 0))


def test_the_rules_import_no_dicom_library() -> None:
    check = "import sys, inference.imaging.suv, inference.select; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_long_hostile_value_is_cut_in_the_message() -> None:
    datasets = builders.pet_slices()
    to_dose(Radiopharmaceutical=None, RadiopharmaceuticalCodeSequence=None)(datasets)
    for ds in datasets:
        tag, value = Tag(0x00180031), b"x" * 5000  # as read from a file: an LO holds 64 characters
        element = RawDataElement(tag, "LO", len(value), value, 0, False, True)
        ds.RadiopharmaceuticalInformationSequence[0]._dict[tag] = element
    with pytest.raises(StudyRefusedError) as refused:
        scale_of(datasets)
    assert len(refused.value.message) < 500


def test_every_norm_is_positive_for_an_ordinary_adult() -> None:
    assert all(40 < norm(70, 170) < 75 for by_sex in NORMS.values() for norm in by_sex.values())
