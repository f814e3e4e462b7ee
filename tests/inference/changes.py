"""A small sound PET/CT study, and changes of it: each takes the list of its instances and changes it in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tests import builders
from tests.inference.roi.volumes import set_raw

OTHER_SERIES = "1.2.826.0.1.3680043.10.1.44"
OTHER_FRAME = "1.2.826.0.1.3680043.10.1.22"
Change = Callable[[list[Dataset]], None]


def square(x: tuple[float, float], y: tuple[float, float], z: float) -> list[float]:
    """Return a rectangle's corners in one slice, LPS mm."""
    return [v for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)) for v in (x[i], y[j], z)]


LESION_X, LESION_Y, LESION_Z = (-35.0, -13.0), (-11.0, 11.0), (8.0, 12.0, 16.0, 20.0, 24.0)
LESION = [square(LESION_X, LESION_Y, z) for z in LESION_Z]


def sound_study() -> list[Dataset]:
    """Return the builders' PET/CT with its lesion drawn in five slices of the CT."""
    ct = builders.ct_slices()
    return [*ct, *builders.pet_slices(), builders.rtstruct(ct, {"GTV": LESION})]


def of(study: Sequence[Dataset], modality: str) -> list[Dataset]:
    return [ds for ds in study if ds.Modality == modality]


def put(datasets: Sequence[Dataset], **values: Any) -> None:
    """Set attributes; None deletes."""
    for ds in datasets:
        for keyword, value in values.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)


def pet(**values: Any) -> Change:
    return lambda study: put(of(study, "PT"), **values)


def last_pet(**values: Any) -> Change:
    return lambda study: put(of(study, "PT")[-1:], **values)


def ct(**values: Any) -> Change:
    return lambda study: put(of(study, "CT"), **values)


def isotope(**values: Any) -> Change:
    """Change the Radiopharmaceutical Information Sequence of every PET slice."""
    return lambda study: put([ds.RadiopharmaceuticalInformationSequence[0] for ds in of(study, "PT")], **values)


def without(modality: str) -> Change:
    def change(study: list[Dataset]) -> None:
        study[:] = [ds for ds in study if ds.Modality != modality]

    return change


def drawn(contours: list[list[float]], label: str = "GTV") -> Change:
    """Draw another region."""

    def change(study: list[Dataset]) -> None:
        study[-1] = builders.rtstruct(of(study, "CT"), {label: contours})

    return change


def unmarked(study: list[Dataset]) -> None:
    drawn(LESION, "ROI-1")(study)
    study[-1].RTROIObservationsSequence[0].RTROIInterpretedType = ""


def elsewhere(study: list[Dataset]) -> None:
    """The region refers to images that are not here."""
    put(study[-1:], FrameOfReferenceUID=OTHER_FRAME)
    frame = study[-1].ReferencedFrameOfReferenceSequence[0]
    frame.FrameOfReferenceUID = study[-1].StructureSetROISequence[0].ReferencedFrameOfReferenceUID = OTHER_FRAME
    frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = OTHER_SERIES


def gap(study: list[Dataset]) -> None:
    study.remove(of(study, "CT")[2])


def twice(study: list[Dataset]) -> None:
    study += builders.pet_slices(series_uid=OTHER_SERIES)


def repainted(suv: NDArray[np.float32]) -> Change:
    """Store another PET."""

    def change(study: list[Dataset]) -> None:
        study[:] = [*of(study, "CT"), *builders.pet_slices(suv), study[-1]]

    return change


def wide(study: list[Dataset]) -> None:
    """A CT of 8 mm pixels, and a region of 240 mm on it."""
    images = builders.ct_slices(spacing_mm=(4.0, 8.0, 8.0), origin_mm=(-124.0, -124.0, 0.0))
    region = [square((-121.0, 120.0), LESION_Y, z) for z in LESION_Z]
    study[:] = [*images, *of(study, "PT"), builders.rtstruct(images, {"GTV": region})]


def raw(modality: str, keyword: str, value: str) -> Change:
    """Write an element of one slice as a hostile file may hold it."""
    return lambda study: set_raw(of(study, modality)[3], keyword, value, "DS")


def another(label: str, change: Change) -> Change:
    """Add a second region, with a change of its own."""

    def added(study: list[Dataset]) -> None:
        region = builders.rtstruct(of(study, "CT"), {label: LESION}, SOPInstanceUID=f"{OTHER_SERIES}.1")
        change([region])
        study.append(region)

    return added


def contour(**values: Any) -> Change:
    return lambda study: put(study[-1].ROIContourSequence[0].ContourSequence, **values)


def redrawn(study: list[Dataset]) -> None:
    """A later day's region holds the first slice alone."""
    put(study[-1:], StructureSetDate="20250103")
    contour(ContourData=LESION[0])(study)


def mapping(study: list[Dataset]) -> None:
    """Add a Real World Value Mapping of the PET that is 6 % off."""
    ds = builders.base_dataset("1.2.840.10008.5.1.4.1.1.67", "RWV", OTHER_SERIES, f"{OTHER_SERIES}.1")
    group, value, unit = Dataset(), Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator = "{SUVbw}g/ml", "UCUM"
    value.RealWorldValueSlope, value.MeasurementUnitsCodeSequence = 1.06 * builders.SUV_FACTOR, [unit]
    group.ReferencedImageSequence = [builders._reference(image) for image in of(study, "PT")]
    group.RealWorldValueMappingSequence = [value]
    ds.ReferencedImageRealWorldValueMappingSequence = [group]
    study.append(ds)


def ge_scan(moment: str, creator: str | None, **values: Any) -> Change:
    """Add GE's scan date-time (0009,100D) to every PET slice."""

    def change(study: list[Dataset]) -> None:
        for ds in of(study, "PT"):
            if creator:
                ds.add_new(0x00090010, "LO", creator)
            ds.add_new(0x0009100D, "DT", moment)
            ds.Manufacturer = "GE MEDICAL SYSTEMS"
        pet(**values)(study)

    return change
