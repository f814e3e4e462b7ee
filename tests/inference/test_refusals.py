"""Every refusal code: one change of a sound study is refused with exactly it, in the words that the documentation prints.

The documentation shortens UIDs (1.2.3, 1.2.4, ... in the order in which a message names them); nothing else differs.
"""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from inference.reception_refusals import held_elsewhere, incomplete, too_late
from inference.study_analysis import analyse_study
from tests import builders
from tests.inference.changes import (
    LESION,
    LESION_Y,
    LESION_Z,
    OTHER_FRAME,
    Change,
    another,
    contour,
    ct,
    drawn,
    elsewhere,
    gap,
    ge_scan,
    isotope,
    last_pet,
    mapping,
    of,
    pet,
    put,
    raw,
    redrawn,
    repainted,
    sound_study,
    square,
    twice,
    unmarked,
    wide,
    without,
)
from tests.inference.packages import network, write_package

(PET_CT,) = BIOMARKERS
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "refusals.md"
# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One change, and what a site or a network must demand for it to be refused."""

    change: Change
    site: Mapping[str, Any] = field(default_factory=dict)
    strict_network: bool = False
    refused_as_received: Callable[[list[Dataset]], StudyRefusedError] | None = None  # whatever its images say
    behind_selection: bool = False  # the choice of series finds it first; the SUV rules alone keep it as a safeguard


def cut_off(study: list[Dataset]) -> StudyRefusedError:
    """The association that brought the CT was."""
    return incomplete(study, [("CT", str(of(study, "CT")[0].SeriesInstanceUID))])


def moved(study: list[Dataset]) -> StudyRefusedError:
    """Another study had the CT first."""
    return held_elsewhere({"1.2.826.0.1": [str(ds.SOPInstanceUID) for ds in of(study, "CT")]}, len(study))


def after_retention(study: list[Dataset]) -> StudyRefusedError:
    """Its contour came a month after its images."""
    return too_late(of(study, "RTSTRUCT"), date(2025, 3, 1), 1)


BOX = {"stored_roi_is": "box"}
FLAT = np.ones((8, 16, 16), np.float32)
COLD = np.where(builders.body_suv() > 1, np.float32(0.4), builders.body_suv())  # the lesion takes up what lung does

CASES: dict[str, Case] = {
    # series and geometry
    "SERIES_MISSING": Case(without("PT")),
    "SERIES_AMBIGUOUS": Case(twice),
    "STUDY_INCOMPLETE": Case(lambda _: None, refused_as_received=cut_off),
    "INSTANCE_UID_CONFLICT": Case(lambda _: None, refused_as_received=moved),
    "SOP_CLASS_UNSUPPORTED": Case(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")),
    "PET_NOT_ATTENUATION_CORRECTED": Case(pet(Units="PROPCNTS")),
    "GEOMETRY_MISMATCH": Case(gap),
    "REGISTRATION_IMPLAUSIBLE": Case(pet(FrameOfReferenceUID=OTHER_FRAME)),
    "PIXELS_UNREADABLE": Case(lambda study: put(study[:1], PixelData=b"\x00\x00")),
    # region of interest and field of view
    "NO_ROI": Case(without("RTSTRUCT")),
    "ROI_TOO_LATE": Case(lambda _: None, refused_as_received=after_retention),
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
        refused = case.refused_as_received(study) if case.refused_as_received else None
        return analyse_study(study, PET_CT, scorers, strict(site, case.site), refuse_first=refused).findings

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


# --- hostile geometry -------------------------------------------------------------------------------------------------


HOSTILE: dict[str, tuple[Change, str]] = {
    "NaN positions of the PET": (raw("PT", "ImagePositionPatient", "nan\\nan\\nan"), "GEOMETRY_MISMATCH"),
    "NaN positions of the CT": (raw("CT", "ImagePositionPatient", "0\\nan\\12"), "GEOMETRY_MISMATCH"),
    "positions at infinity": (raw("CT", "ImagePositionPatient", "0\\0\\1e308"), "GEOMETRY_MISMATCH"),
    "zero spacing of the PET": (pet(PixelSpacing=[0, 0]), "GEOMETRY_MISMATCH"),
    "zero spacing of the CT": (ct(PixelSpacing=[0, 0]), "GEOMETRY_MISMATCH"),
    "slices of nothing": (ct(ImagePositionPatient=[0, 0, 0]), "GEOMETRY_MISMATCH"),
    "pixels of a nanometre": (ct(PixelSpacing=["1e-6", "1e-6"]), "GEOMETRY_MISMATCH"),
    "pixels of a kilometre": (ct(PixelSpacing=["1e6", "1e6"]), "GEOMETRY_MISMATCH"),
    "a million frames of the PET": (pet(NumberOfFrames=10**6), "PIXELS_UNREADABLE"),
    "a million frames of the CT": (ct(NumberOfFrames=10**6), "PIXELS_UNREADABLE"),
    "an enhanced PET of a million frames": (
        pet(NumberOfFrames=10**6, SOPClassUID="1.2.840.10008.5.1.4.1.1.130"), "SUV_SOP_CLASS"),
    "gigapixels": (ct(Rows=4096, Columns=4096, PixelSpacing=[0.2, 0.2]), "PIXELS_UNREADABLE"),
    "all the rows there can be": (pet(Rows=65535, Columns=65535), "PIXELS_UNREADABLE"),
    "a contour far from any patient": (drawn([[1e9] * 9]), "GEOMETRY_MISMATCH"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_geometry_is_refused_before_memory_is_taken(analyse: Analyse, case: str) -> None:
    """Of the whole study: no step before the readers' checks trusts what a header claims."""
    change, code = HOSTILE[case]
    tracemalloc.start()
    try:
        refusal = analyse(Case(change)).refusal
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refusal is not None
    assert refusal.code == code
    assert peak_bytes < 2 * 2**20


# --- warnings ---------------------------------------------------------------------------------------------------------


LATER_SERIES = {"SeriesTime": "113000"}
WARNED: dict[str, Case] = {
    "ROI_REFERENCE_MISSING": Case(another("GTV 2", elsewhere)),
    "ROI_UNREADABLE": Case(another("GTV 2", contour(ContourData=["0", "0", "8", "9", "0", "8", "9", "1e6", "8"]))),
    "ROI_OTHER_PATIENT": Case(another("GTV 2", lambda regions: put(regions, PatientID="SOMEBODY ELSE"))),
    "ROI_EMPTY": Case(another("GTV 2", contour(ContourGeometricType="POINT"))),
    "ROI_PARTLY_REPLACED": Case(another("GTV 2", redrawn)),
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
TOLD_ELSEWHERE = {"REGISTRATION_ESTIMATED", "ROI_PROPOSED", "ROI_AMBIGUOUS", "SERIES_FETCHED", "PRIORS_LEFT_OUT"}


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
