"""The Image Library of a report (TID 1600): every image that was read, described as far as its header goes.

highdicom's own library demands attributes that a refused series may lack (Slice Thickness is type 2); a refusal
must be reportable whatever the header holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from egfr_dls import codes
from egfr_dls.codes import DIRECTION_COSINE, MILLIMETRE, PIXELS
from reporting.encoded_items import encoded, set_content

CONTAINS = RelationshipTypeValues.CONTAINS
DESCRIBES = RelationshipTypeValues.HAS_ACQ_CONTEXT

# TID 1602 and 1604: concept, unit, attribute and which of its values
DESCRIPTORS: tuple[tuple[Code, Code, str, int | None], ...] = (
    (Code("110910", "DCM", "Pixel Data Rows"), PIXELS, "Rows", None),
    (Code("110911", "DCM", "Pixel Data Columns"), PIXELS, "Columns", None),
    (Code("111026", "DCM", "Horizontal Pixel Spacing"), MILLIMETRE, "PixelSpacing", 1),
    (Code("111066", "DCM", "Vertical Pixel Spacing"), MILLIMETRE, "PixelSpacing", 0),
    (Code("112225", "DCM", "Slice Thickness"), MILLIMETRE, "SliceThickness", None),
    (Code("112226", "DCM", "Spacing between slices"), MILLIMETRE, "SpacingBetweenSlices", None),
    (Code("110901", "DCM", "Image Position (Patient) X"), MILLIMETRE, "ImagePositionPatient", 0),
    (Code("110902", "DCM", "Image Position (Patient) Y"), MILLIMETRE, "ImagePositionPatient", 1),
    (Code("110903", "DCM", "Image Position (Patient) Z"), MILLIMETRE, "ImagePositionPatient", 2),
    (Code("110904", "DCM", "Image Orientation (Patient) Row X"), DIRECTION_COSINE, "ImageOrientationPatient", 0),
    (Code("110905", "DCM", "Image Orientation (Patient) Row Y"), DIRECTION_COSINE, "ImageOrientationPatient", 1),
    (Code("110906", "DCM", "Image Orientation (Patient) Row Z"), DIRECTION_COSINE, "ImageOrientationPatient", 2),
    (Code("110907", "DCM", "Image Orientation (Patient) Column X"), DIRECTION_COSINE, "ImageOrientationPatient", 3),
    (Code("110908", "DCM", "Image Orientation (Patient) Column Y"), DIRECTION_COSINE, "ImageOrientationPatient", 4),
    (Code("110909", "DCM", "Image Orientation (Patient) Column Z"), DIRECTION_COSINE, "ImageOrientationPatient", 5),
)


@lru_cache(maxsize=512)
def concept(code: Code) -> CodedConcept:
    """Return a code as highdicom's content items take it; nobody changes one."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def image_library(images: Sequence[Dataset]) -> Dataset:
    """Return the library container; one group for each series, in the order given.

    Parameters
    ----------
    images
        at least one evidence copy: OHIF reads into the first group without looking
    """
    by_series: dict[str, list[Dataset]] = {}
    for image in images:
        by_series.setdefault(image.SeriesInstanceUID, []).append(image)
    library = _container(codes.IMAGE_LIBRARY)
    set_content(library, (_group(group) for group in by_series.values()))
    return library


def _container(name: Code) -> ContainerContentItem:
    return ContainerContentItem(concept(name), is_content_continuous=False, relationship_type=CONTAINS)


def _group(images: Iterable[Dataset]) -> bytes:
    group = _container(codes.IMAGE_LIBRARY_GROUP)
    set_content(group, (_entry(image) for image in images))
    return encoded(group)


def _entry(image: Dataset) -> bytes:
    entry = ImageContentItem(concept(codes.SOURCE), image.SOPClassUID, image.SOPInstanceUID, relationship_type=CONTAINS)
    descriptors = list(_descriptors(image))
    if descriptors:
        set_content(entry, descriptors)
    return encoded(entry)


def _descriptors(image: Dataset) -> Iterator[bytes]:
    modality = codes.MODALITIES.get(image.get("Modality", ""))
    if modality is not None:
        yield _modality(modality)
    if image.get("FrameOfReferenceUID"):
        yield _frame_of_reference(str(image.FrameOfReferenceUID))
    for place, (_, _, keyword, index) in enumerate(DESCRIPTORS):
        value = image.get(keyword)
        if value is None or (index is not None and index >= len(value)):
            continue
        yield _number(place, repr(float(value if index is None else value[index])))


# -- what is the same for many images is built and encoded once


@lru_cache(maxsize=16)
def _modality(modality: Code) -> bytes:
    return encoded(CodeContentItem(concept(codes.MODALITY), concept(modality), relationship_type=DESCRIBES))


@lru_cache(maxsize=64)
def _frame_of_reference(uid: str) -> bytes:
    return encoded(UIDRefContentItem(concept(codes.FRAME_OF_REFERENCE), uid, relationship_type=DESCRIBES))


@lru_cache(maxsize=4096)
def _number(place: int, number: str) -> bytes:
    """Return a descriptor by its place in the table; the number as text, for which 0.0 and -0.0 differ."""
    name, unit, _, _ = DESCRIPTORS[place]
    return encoded(NumContentItem(concept(name), float(number), concept(unit), relationship_type=DESCRIBES))
