"""PET series: the header record of the SUV rules, and the volume in SUVbw."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from egfr_dls.volume import Unit, Volume
from inference.imaging.suv import SuvScale
from inference.imaging.suv_header import TAGS, PetSlice
from inference.read import header
from inference.read.geometry import stack_of
from inference.read.header import number, text, texts, where, written
from inference.read.pixels import require_bytes, stored_values
from inference.read.series import SeriesImages

PHILIPS = "Philips PET Private Group"
# name in TAGS -> tag in block 0x10, private creator, vendor as Manufacturer (0008,0070) has it
PRIVATE: dict[str, tuple[int, str, str]] = {
    "GE scan date-time": (0x0009100D, "GEMS_PETD_01", "GE"),
    "Philips SUV scale factor": (0x70531000, PHILIPS, "Philips"),
    "Philips activity concentration scale factor": (0x70531009, PHILIPS, "Philips"),
}
# Elements of Radiopharmaceutical Information Sequence (0054,0016).
OF_RADIOPHARMACEUTICAL = (
    "Radiopharmaceutical",
    "RadiopharmaceuticalStartTime",
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartDateTime",
)
CODES = ("RadionuclideCodeSequence", "RadiopharmaceuticalCodeSequence")


def read_pet(series: SeriesImages, scale: SuvScale | None) -> Volume:
    """Return the series as float32 ``[z, y, x]``, ascending along the slice normal.

    SUVbw g/ml with a scale; without one (a scale-type failure) stored x RescaleSlope, ``Unit.RELATIVE``.

    Raises
    ------
    StudyRefusedError
        ``GEOMETRY_MISMATCH``, ``PIXELS_UNREADABLE``
    """
    stack = stack_of(series)
    scales = [_slope(ds) * (scale.factors[text(ds, "SOPInstanceUID")] if scale else 1.0) for ds in stack.datasets]
    require_bytes(stack.datasets, stack.geometry.shape[1:])
    voxels = np.empty(stack.geometry.shape, np.float32)
    for z, (ds, per_stored) in enumerate(zip(stack.datasets, scales, strict=True)):
        with np.errstate(over="ignore"):  # what is not finite is refused by ``Stack.volume``
            voxels[z] = stored_values(ds, (voxels.shape[1], voxels.shape[2])) * per_stored
    return stack.volume(series, voxels, Unit.SUVBW if scale else Unit.RELATIVE)


def _slope(ds: Dataset) -> float:
    slope = number(ds, "RescaleSlope")
    if slope is None or slope <= 0:
        raise StudyRefusedError(
            RefusalCode.SUV_INTERCEPT,
            f"{where('RescaleSlope')} is {written(ds, 'RescaleSlope') or 'missing'} in instance "
            f"{text(ds, 'SOPInstanceUID')}. Needed: a number above 0.",
        )
    return slope


def pet_slices(series: SeriesImages) -> tuple[PetSlice, ...]:
    """Return the record of the SUV rules for every instance.

    Raises
    ------
    StudyRefusedError
        ``PIXELS_UNREADABLE``: a sequence cannot be decoded
    """
    return tuple(_pet_slice(ds) for ds in series.datasets)


def _pet_slice(ds: Dataset) -> PetSlice:
    dose = next(iter(header.items(ds, "RadiopharmaceuticalInformationSequence")), Dataset())
    private = {name: header.private_text(ds, *how) for name, how in PRIVATE.items()}
    shown = {k: written(dose if k in OF_RADIOPHARMACEUTICAL else ds, k) for k in TAGS if k not in (*PRIVATE, *CODES)}
    shown |= {k: ", ".join(f"({' '.join(c)})" for c in header.codes(dose, k)) for k in CODES}
    shown |= {name: value.value for name, value in private.items()}
    return PetSlice(
        sop_class_uid=text(ds, "SOPClassUID"),
        series_instance_uid=text(ds, "SeriesInstanceUID"),
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        units=text(ds, "Units"),
        suv_type=text(ds, "SUVType"),
        corrected_image=frozenset(texts(ds, "CorrectedImage")),
        decay_correction=text(ds, "DecayCorrection"),
        rescale_slope=number(ds, "RescaleSlope"),
        rescale_intercept=number(ds, "RescaleIntercept"),
        weight=number(ds, "PatientWeight"),
        size=number(ds, "PatientSize"),
        sex=text(ds, "PatientSex"),
        dose=number(dose, "RadionuclideTotalDose"),
        half_life_seconds=number(dose, "RadionuclideHalfLife"),
        radionuclide=header.codes(dose, "RadionuclideCodeSequence"),
        radiopharmaceutical=text(dose, "Radiopharmaceutical"),
        radiopharmaceutical_codes=header.codes(dose, "RadiopharmaceuticalCodeSequence"),
        series_start=header.moment_of(ds, "SeriesDate", "SeriesTime"),
        series_date=header.day(ds, "SeriesDate"),
        acquisition_start=header.moment_of(ds, "AcquisitionDate", "AcquisitionTime"),
        acquisition_date=header.day(ds, "AcquisitionDate"),
        injection=header.moment(dose, "RadiopharmaceuticalStartDateTime"),
        injection_clock=header.clock(dose, "RadiopharmaceuticalStartTime"),
        frame_reference_ms=number(ds, "FrameReferenceTime"),
        frame_duration_ms=number(ds, "ActualFrameDuration"),
        ge_scan=header.as_moment(private["GE scan date-time"].value),
        philips_suv=header.as_number(private["Philips SUV scale factor"].value),
        philips_activity=header.as_number(private["Philips activity concentration scale factor"].value),
        creator_missing=frozenset(name for name, value in private.items() if value.creator_missing),
        written=shown,
    )
