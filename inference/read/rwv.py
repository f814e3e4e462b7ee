"""Real World Value Mapping objects: what other software says the SUV scale of a series is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset

from inference.imaging.suv import RwvClaim
from inference.read.header import codes, items, number, text

REAL_WORLD_VALUE_MAPPING = "1.2.840.10008.5.1.4.1.1.67"
SUV_BW_UNITS = frozenset({("{SUVbw}g/ml", "UCUM"), ("g/ml{SUVbw}", "UCUM")})  # the second is UCUM's own spelling


def rwv_claims(datasets: Iterable[Dataset], image: Dataset) -> tuple[RwvClaim, ...]:
    """Return the SUVbw slopes of the Real World Value Mappings among the datasets (PS3.3 A.46, C.7.6.16.2.11).

    Parameters
    ----------
    image
        of the series that they are held against: a mapping of another study, or that names another patient, claims nothing
    """
    of_image = (ds for ds in datasets if text(ds, "SOPClassUID") == REAL_WORLD_VALUE_MAPPING and _is_of(ds, image))
    return tuple(claim for ds in of_image for claim in _claims(ds))


def _is_of(ds: Dataset, image: Dataset) -> bool:
    same_study = text(ds, "StudyInstanceUID") == text(image, "StudyInstanceUID")
    return same_study and text(ds, "PatientID") in ("", text(image, "PatientID"))


def _claims(ds: Dataset) -> Iterator[RwvClaim]:
    for group in items(ds, "ReferencedImageRealWorldValueMappingSequence"):
        images = frozenset(text(item, "ReferencedSOPInstanceUID") for item in items(group, "ReferencedImageSequence"))
        for mapping in items(group, "RealWorldValueMappingSequence"):
            slope = number(mapping, "RealWorldValueSlope")
            if slope is not None and SUV_BW_UNITS.intersection(codes(mapping, "MeasurementUnitsCodeSequence")):
                yield RwvClaim(slope, images, text(ds, "SOPInstanceUID"))
