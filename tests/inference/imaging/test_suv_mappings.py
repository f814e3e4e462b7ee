"""SUVbw beside Real World Value Mappings."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.uid import (
    RealWorldValueMappingStorage,
)

from egfr_dls.refusals import WarningCode
from inference.imaging.suv import RwvClaim
from inference.read.rwv import rwv_claims
from tests import builders
from tests.inference.imaging.pet_headers import (
    code,
    codes,
    scale_of,
)


@pytest.mark.parametrize(("off", "warned"), [(1.0, False), (1.0099, False), (1.0101, True), (0.9899, True)])
def test_a_mapping_that_disagrees_by_more_than_a_percent_warns(off: float, warned: bool) -> None:
    datasets = builders.pet_slices()
    uids = frozenset(ds.SOPInstanceUID for ds in datasets)
    scale = scale_of(datasets, rwv=(RwvClaim(builders.SUV_FACTOR * off, uids, "1.2.3"),))
    assert (WarningCode.SUV_RWV_DISAGREES in codes(scale)) is warned


def test_a_mapping_of_stored_values_agrees_too_and_one_of_other_images_says_nothing() -> None:
    datasets = builders.pet_slices()
    of_stored = [
        RwvClaim(float(ds.RescaleSlope) * builders.SUV_FACTOR, frozenset({ds.SOPInstanceUID}), "1.2.3")
        for ds in datasets
    ]
    foreign = RwvClaim(1.0, frozenset({"1.2.3.4"}), "1.2.3")
    assert codes(scale_of(datasets, rwv=(*of_stored, foreign))) == set()


def test_a_mapping_that_fits_some_of_its_slices_warns() -> None:
    """Its slope is that of the stored values of every other slice."""
    datasets = builders.pet_slices()
    uids = frozenset(ds.SOPInstanceUID for ds in datasets)
    claim = RwvClaim(float(datasets[0].RescaleSlope) * builders.SUV_FACTOR, uids, "1.2.3")
    (warning,) = scale_of(datasets, rwv=(claim,)).warnings
    assert warning.code == WarningCode.SUV_RWV_DISAGREES
    assert "differ by" in warning.message


def rwv_mapping(unit: str, image: Dataset) -> Dataset:
    """Return a Real World Value Mapping of slope 0.5 for an image."""
    mapping = builders.base_dataset(RealWorldValueMappingStorage, "RWV", "1.2.3.8", "1.2.3")
    group, value, reference = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    value.RealWorldValueSlope, value.MeasurementUnitsCodeSequence = 0.5, code(unit, "UCUM")
    group.ReferencedImageSequence, group.RealWorldValueMappingSequence = [reference], [value]
    mapping.ReferencedImageRealWorldValueMappingSequence = [group]
    return mapping


@pytest.mark.parametrize(("unit", "taken"), [("{SUVbw}g/ml", True), ("g/ml{SUVbw}", True), ("{SUVlbm}g/ml", False)])
def test_only_mappings_in_suvbw_are_compared(unit: str, taken: bool) -> None:
    image = builders.pet_slices()[0]
    expected = (RwvClaim(0.5, frozenset({image.SOPInstanceUID}), "1.2.3"),)
    assert rwv_claims([rwv_mapping(unit, image)], image) == (expected if taken else ())


@pytest.mark.parametrize(
    ("attributes", "taken"),
    [
        ({}, True),
        ({"PatientID": ""}, True),  # says of nobody that it is his
        ({"PatientID": "SOMEBODY ELSE"}, False),
        ({"StudyInstanceUID": "1.2.3.9"}, False),
    ],
)
def test_a_mapping_of_another_patient_or_study_claims_nothing(attributes: dict[str, str], taken: bool) -> None:
    image = builders.pet_slices()[0]
    mapping = rwv_mapping("{SUVbw}g/ml", image)
    for keyword, changed in attributes.items():
        setattr(mapping, keyword, changed)
    assert bool(rwv_claims([mapping], image)) is taken
