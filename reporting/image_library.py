"""The Image Library of a report (TID 1600): every image that was read, described as far as its header goes.

highdicom's own library demands attributes that a refused series may lack (Slice Thickness is type 2); a refusal
must be reportable whatever the header holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from egfr_dls import codes
from egfr_dls.codes import DIRECTION_COSINE, MILLIMETRE, PIXELS

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


def concept(code: Code) -> CodedConcept:
    """Return a code as highdicom's content items take it."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def image_library(images: Sequence[Dataset]) -> ContainerContentItem:
    """Return the library container; one group for each series, in the order given.

    Parameters
    ----------
    images
        at least one evidence copy: OHIF reads into the first group without looking
    """
    library = ContainerContentItem(concept(codes.IMAGE_LIBRARY), relationship_type=CONTAINS)
    library.ContentSequence = ContentSequence(
        [
            _group([image for image in images if image.SeriesInstanceUID == series])
            for series in dict.fromkeys(image.SeriesInstanceUID for image in images)
        ]
    )
    return library


def _group(images: Iterable[Dataset]) -> ContainerContentItem:
    group = ContainerContentItem(concept(codes.IMAGE_LIBRARY_GROUP), relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence([_entry(image) for image in images])
    return group


def _entry(image: Dataset) -> ImageContentItem:
    entry = ImageContentItem(concept(codes.SOURCE), image.SOPClassUID, image.SOPInstanceUID, relationship_type=CONTAINS)
    descriptors = list(_descriptors(image))
    if descriptors:
        entry.ContentSequence = ContentSequence(descriptors)
    return entry


def _descriptors(image: Dataset) -> Iterable[ContentItem]:
    modality = codes.MODALITIES.get(image.get("Modality", ""))
    if modality is not None:
        yield CodeContentItem(concept(codes.MODALITY), concept(modality), relationship_type=DESCRIBES)
    if image.get("FrameOfReferenceUID"):
        yield UIDRefContentItem(
            concept(codes.FRAME_OF_REFERENCE), image.FrameOfReferenceUID, relationship_type=DESCRIBES
        )
    for name, unit, keyword, index in DESCRIPTORS:
        value = image.get(keyword)
        if value is None or (index is not None and index >= len(value)):
            continue
        number = value if index is None else value[index]
        yield NumContentItem(concept(name), float(number), concept(unit), relationship_type=DESCRIBES)
