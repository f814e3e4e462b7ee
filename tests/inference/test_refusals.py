"""Every refusal code: one change of a sound study is refused with exactly it, in the words that the documentation prints.

The documentation shortens UIDs (1.2.3, 1.2.4, ... in the order in which a message names them); nothing else differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from egfr_dls import settings
from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import StudyFindings
from egfr_dls.refusals import RefusalCode, WarningCode
from egfr_dls.settings import Settings
from inference.biomarkers.registry import BIOMARKERS, load_scorers
from inference.imaging.suv import suv_scale
from inference.read.pet import pet_slices
from inference.read.series import group_series
from inference.stage import _incomplete
from inference.study_analysis import analyse_study
from tests import builders
from tests.inference.packages import network, write_package

(PET_CT,) = BIOMARKERS
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "refusals.md"
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


# --- changes ----------------------------------------------------------------------------------------------------------


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


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One change, and what a site or a network must demand for it to be refused."""

    change: Change
    site: Mapping[str, Any] = field(default_factory=dict)
    strict_network: bool = False
    cut_off_while_sending: bool = False
    behind_selection: bool = False  # the choice of series finds it first; the SUV rules alone keep it as a safeguard


BOX = {"stored_roi_is": "box"}
FLAT = np.ones((8, 16, 16), np.float32)
COLD = np.where(builders.body_suv() > 1, np.float32(0.4), builders.body_suv())  # the lesion takes up what lung does

CASES: dict[str, Case] = {
    # series and geometry
    "SERIES_MISSING": Case(without("PT")),
    "SERIES_AMBIGUOUS": Case(twice),
    "STUDY_INCOMPLETE": Case(lambda _: None, cut_off_while_sending=True),
    "SOP_CLASS_UNSUPPORTED": Case(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")),
    "PET_NOT_ATTENUATION_CORRECTED": Case(pet(Units="PROPCNTS")),
    "GEOMETRY_MISMATCH": Case(gap),
    "REGISTRATION_IMPLAUSIBLE": Case(pet(FrameOfReferenceUID=OTHER_FRAME)),
    "PIXELS_UNREADABLE": Case(lambda study: put(study[:1], PixelData=b"\x00\x00")),
    # region of interest and field of view
    "NO_ROI": Case(without("RTSTRUCT")),
    "ROI_AMBIGUOUS": Case(unmarked, {"ambiguous_roi": "refuse"}),
    "ROI_REFERENCE_MISSING": Case(elsewhere),
    "NO_LUNG_FIELD": Case(without("RTSTRUCT"), {"propose_roi": True}),
    "ROI_TOO_SMALL": Case(drawn([square((-27.0, -23.0), (-3.0, 1.0), z) for z in LESION_Z])),
    "FOV_NO_TUMOUR": Case(repainted(0 * FLAT), BOX),
    "FOV_TRUNCATED": Case(drawn([square((-31.0, -17.0), (-7.0, 7.0), z) for z in LESION_Z]), BOX),
    "FOV_LARGE": Case(wide),
    "FOV_MARGIN": Case(drawn([square((-61.0, 13.0), (-37.0, 37.0), z) for z in LESION_Z]), BOX, strict_network=True),
    "HYPERIMAGE_FLAT_CHANNEL": Case(repainted(FLAT), strict_network=True),
    "ROI_WITHOUT_UPTAKE": Case(repainted(COLD), strict_network=True),
    "FEW_SLICES": Case(drawn(LESION[:1]), strict_network=True),
    # PET quantity
    "SUV_SOP_CLASS": Case(pet(SOPClassUID="1.2.840.10008.5.1.4.1.1.130")),
    "SUV_MIXED_SERIES": Case(last_pet(PatientWeight=75)),
    "SUV_NOT_ATTENUATION_CORRECTED": Case(pet(CorrectedImage=["DECY", "SCAT"]), behind_selection=True),
    "SUV_NOT_DECAY_CORRECTED": Case(pet(CorrectedImage=["ATTN", "SCAT"])),
    "SUV_INTERCEPT": Case(pet(RescaleIntercept="-1024")),
    "SUV_UNITS_UNSUPPORTED": Case(pet(Units="1CM")),
    "SUV_UNITS_NOT_BW": Case(pet(Units="GML", SUVType="LBM")),
    "SUV_COUNTS_WITHOUT_FACTOR": Case(pet(Units="CNTS")),
    "SUV_NO_WEIGHT": Case(pet(PatientWeight=None)),
    "SUV_WEIGHT_IMPLAUSIBLE": Case(pet(PatientWeight="7.2")),
    "SUV_NO_DOSE": Case(isotope(RadionuclideTotalDose=None)),
    "SUV_DOSE_IMPLAUSIBLE": Case(isotope(RadionuclideTotalDose="3700000")),
    "SUV_NO_HALF_LIFE": Case(isotope(RadionuclideHalfLife=None, RadionuclideCodeSequence=None)),
    "SUV_NOT_F18": Case(isotope(RadionuclideHalfLife="4062.6", RadionuclideCodeSequence=None)),
    "NOT_FDG": Case(isotope(Radiopharmaceutical="PSMA-1007", RadiopharmaceuticalCodeSequence=None)),
    "SUV_DECAY_UNKNOWN": Case(pet(DecayCorrection="OTHER")),
    "SUV_NO_INJECTION_TIME": Case(isotope(RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime=None)),
    "SUV_UPTAKE_TIME": Case(isotope(RadiopharmaceuticalStartTime="040000", RadiopharmaceuticalStartDateTime=None)),
    # population
    "EXCLUDED_PHANTOM": Case(pet(QualityControlImage="YES")),
}


def test_every_code_has_its_case() -> None:
    assert set(CASES) == set(RefusalCode)


# --- what the product says --------------------------------------------------------------------------------------------

Analyse = Callable[[Case], StudyFindings]


@pytest.fixture(scope="module")
def analyse(tmp_path_factory: pytest.TempPathFactory) -> Analyse:
    """Analyse the sound study with a case's change."""
    loaded = {}
    for policy in ("warn", "strict"):
        folder = tmp_path_factory.mktemp(policy)
        recipe = {"id": "mu2020-hyperimage-1", "input_signature": "stacked", "fov_policy": policy}
        write_package(folder / "egfr", network(1), status="research", preprocessing=recipe)
        sections = {"storage": {"root": Path("unused")}, "inference": {"models": str(folder)}}
        site = settings.load(None, sections)
        loaded[policy] = (site, load_scorers(PET_CT, site))

    def call(case: Case) -> StudyFindings:
        study = sound_study()
        case.change(study)
        site, scorers = loaded["strict" if case.strict_network else "warn"]
        refuse_as = _incomplete(study) if case.cut_off_while_sending else None
        return analyse_study(study, PET_CT, scorers, strict(site, case.site), refuse_as=refuse_as).findings

    return call


def strict(site: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return settings that refuse what fails the scale alone and propose nothing, with a case's own on top."""
    wanted = {"propose_roi": False, "suv_failure_policy": "refuse", **changes}
    section = site.biomarkers.pet_ct_egfr.model_copy(update=wanted)
    return site.model_copy(update={"biomarkers": site.biomarkers.model_copy(update={"pet_ct_egfr": section})})


@pytest.mark.parametrize("network", [False, True], ids=["warns", "strict"])
@pytest.mark.parametrize("site", [{}, {"ambiguous_roi": "refuse"}, {"propose_roi": True}], ids=str)
def test_the_study_without_the_change_is_scored(analyse: Analyse, site: Mapping[str, Any], network: bool) -> None:
    assert analyse(Case(lambda _: None, site, strict_network=network)).refusal is None


@pytest.mark.parametrize("code", [code for code, case in CASES.items() if not case.behind_selection])
def test_one_change_of_a_sound_study_is_refused_as_documented(analyse: Analyse, code: str) -> None:
    found = analyse(CASES[code]).refusal
    assert found is not None
    assert (found.code, shortened(found.message)) == (code, documented("Refusals")[code])


@pytest.mark.parametrize("code", [code for code, case in CASES.items() if case.behind_selection])
def test_a_safeguard_is_refused_as_documented(analyse: Analyse, code: str) -> None:
    """A study never gets there: the choice of series refuses it under its own code."""
    study = sound_study()
    CASES[code].change(study)
    (series,) = group_series(of(study, "PT"))
    with pytest.raises(StudyRefusedError) as refused:
        suv_scale(pet_slices(series))
    assert (refused.value.code, shortened(refused.value.message)) == (code, documented("Refusals")[code])
    found = analyse(CASES[code]).refusal
    assert found is not None
    assert found.code != code


# --- warnings ---------------------------------------------------------------------------------------------------------


def another(label: str, change: Change) -> Change:
    """Add a second region, with a change of its own."""

    def added(study: list[Dataset]) -> None:
        region = builders.rtstruct(of(study, "CT"), {label: LESION}, SOPInstanceUID=f"{OTHER_SERIES}.1")
        change([region])
        study.append(region)

    return added


def contour(**values: Any) -> Change:
    return lambda study: put(study[-1].ROIContourSequence[0].ContourSequence, **values)


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


LATER_SERIES = {"SeriesTime": "113000"}
WARNED: dict[str, Case] = {
    "ROI_REFERENCE_MISSING": Case(another("GTV 2", elsewhere)),
    "ROI_UNREADABLE": Case(another("GTV 2", contour(ContourData=["0", "0", "8", "9", "0", "8", "9", "1e6", "8"]))),
    "ROI_EMPTY": Case(another("GTV 2", contour(ContourGeometricType="POINT"))),
    "FOV_MARGIN": Case(CASES["FOV_MARGIN"].change, BOX),
    "FOV_LARGE": Case(drawn([square((-63.0, 63.0), LESION_Y, z) for z in LESION_Z])),
    "CROP_PADDED": Case(drawn([square((-63.0, -47.0), LESION_Y, z) for z in LESION_Z])),
    "HYPERIMAGE_FLAT_CHANNEL": Case(repainted(FLAT)),
    "ROI_WITHOUT_UPTAKE": Case(repainted(COLD)),
    "FEW_SLICES": Case(drawn(LESION[:1])),
    "SUV_WEIGHT_IN_GRAMS": Case(pet(PatientWeight="72000")),
    "SUV_DOSE_IN_MBQ": Case(isotope(RadionuclideTotalDose="370")),
    "SUV_UPTAKE_UNUSUAL": Case(isotope(RadiopharmaceuticalStartDateTime="20250102082100")),
    "SUV_REFERENCE_GUESSED": Case(pet(**LATER_SERIES, FrameReferenceTime=None)),
    "SUV_REFERENCE_DIFFERS": Case(pet(FrameReferenceTime="690000")),
    "SUV_GE_DATE_IMPLAUSIBLE": Case(ge_scan("20241210110000", "GEMS_PETD_01", **LATER_SERIES)),
    "SUV_DATE_SHIFT": Case(isotope(RadiopharmaceuticalStartDateTime="20250103100000")),
    "SUV_PRIVATE_CREATOR_MISSING": Case(ge_scan("20250102110000", None, **LATER_SERIES)),
    "SUV_OMITTED": Case(pet(PatientWeight=None), {"suv_failure_policy": "omit"}),
    "SUV_RWV_DISAGREES": Case(mapping),
    "TRACER_NOT_STATED": Case(isotope(Radiopharmaceutical="Solution", RadiopharmaceuticalCodeSequence=None)),
    "HISTOLOGY_UNKNOWN": Case(lambda _: None),
    "OUTSIDE_TRAINING_DOMAIN": Case(lambda _: None),  # the builders' lungs are too small for a chest
}
# What the small study cannot give: a chest to propose in or to register, and a node that fetches.
TOLD_ELSEWHERE = {"REGISTRATION_ESTIMATED", "ROI_PROPOSED", "ROI_AMBIGUOUS", "SERIES_FETCHED"}


def test_every_warning_has_its_case() -> None:
    assert set(WARNED) | TOLD_ELSEWHERE == set(WarningCode)


@pytest.mark.parametrize("code", WARNED)
def test_one_change_of_a_sound_study_warns_as_documented(analyse: Analyse, code: str) -> None:
    found = analyse(WARNED[code])
    assert found.refusal is None
    (said,) = [w.message for w in found.warnings if w.code == code]
    assert shortened(said) == documented("Warnings")[code]


def test_the_sound_study_warns_of_nothing_that_a_change_brings(analyse: Analyse) -> None:
    assert {w.code for w in analyse(Case(lambda _: None)).warnings} == {"HISTOLOGY_UNKNOWN", "OUTSIDE_TRAINING_DOMAIN"}


# --- the page ---------------------------------------------------------------------------------------------------------


def documented(section: str) -> dict[str, str]:
    """Return the example message of each code under the headings that begin so: the last cell of its row."""
    parts = [
        part for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M) if part.startswith(section)
    ]
    lines = [line.strip("|").split("|") for part in parts for line in part.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): cells[-1].strip() for cells in lines}


def shortened(message: str) -> str:
    """Return a message as the documentation prints it."""
    short: dict[str, str] = {}
    return re.sub(r"1\.2\.826(\.\d+)+", lambda uid: short.setdefault(uid[0], f"1.2.{3 + len(short)}"), message)
