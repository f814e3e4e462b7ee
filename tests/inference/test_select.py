"""The pair that is scored is chosen, and every other series has its reason; one change of a sound study a refusal."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import SeriesFinding
from egfr_dls.refusals import RefusalCode
from inference.read.folder import read_folder
from inference.read.series import group_series, series_facts
from inference.select import CT, NOT_SELECTED, PET, SeriesFacts, judge_series, pet_reasons, select_pet, select_pet_ct

FRAME = frozenset({"1.1"})
AC = SeriesFacts(
    series_instance_uid="2.1", modality="PT", sop_class_uids=frozenset({PET}), frame_of_reference_uids=FRAME,
    n_instances=100, image_type=("ORIGINAL", "PRIMARY"), series_type=("WHOLE BODY", "IMAGE"), description="PET AC",
    units="BQML", corrected_image=frozenset({"ATTN", "DECY"}), attenuation_correction="measured", z_range_mm=(0.0, 400.0),
)  # fmt: skip
NAC = replace(AC, series_instance_uid="2.2", units="PROPCNTS", description="PET NAC", attenuation_correction="")
WHOLE = SeriesFacts(
    series_instance_uid="3.1", modality="CT", sop_class_uids=frozenset({CT}), frame_of_reference_uids=FRAME,
    n_instances=120, image_type=("ORIGINAL", "PRIMARY", "AXIAL"), z_range_mm=(0.0, 400.0),
)  # fmt: skip
SEG = SeriesFacts(
    series_instance_uid="4.1", modality="SEG", sop_class_uids=frozenset({"1.2.840.10008.5.1.4.1.1.66.4"}),
    frame_of_reference_uids=FRAME, referenced_series_uids=frozenset({"2.1"}),
)  # fmt: skip
ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def classed(s: SeriesFacts, uid: str) -> SeriesFacts:
    return replace(s, sop_class_uids=frozenset({uid}))


def by_uid(findings: tuple[SeriesFinding, ...]) -> dict[str, SeriesFinding]:
    return {f.series_instance_uid: f for f in findings}


def test_a_sound_study_in_any_order() -> None:
    study = [AC, NAC, WHOLE, SEG]
    for seed in range(5):
        selection = select_pet_ct(random.Random(seed).sample(study, len(study)))
        assert (selection.pet, selection.ct, selection.rois) == (AC, WHOLE, (SEG,))
        found = by_uid(selection.findings)
        assert {uid: f.role for uid, f in found.items()} == {"2.1": "pet", "2.2": None, "3.1": "ct", "4.1": "roi"}
        assert found["2.2"].reason is not None
        assert found["2.2"].reason.code == RefusalCode.PET_NOT_ATTENUATION_CORRECTED


OTHERS: dict[str, tuple[SeriesFacts, str, str]] = {
    "scout": (
        replace(WHOLE, series_instance_uid="9", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), n_instances=999),
        NOT_SELECTED, "LOCALIZER"),
    "coronal reformat": (
        replace(WHOLE, series_instance_uid="9", image_type=("DERIVED", "SECONDARY", "MPR"), n_instances=999),
        NOT_SELECTED, "SECONDARY"),
    "derived": (
        replace(WHOLE, series_instance_uid="9", image_type=("DERIVED", "PRIMARY"), n_instances=999), NOT_SELECTED,
        "not derived"),
    "other frame": (
        replace(WHOLE, series_instance_uid="9", frame_of_reference_uids=frozenset({"8.8"}), n_instances=999), NOT_SELECTED,
        "FrameOfReferenceUID (0020,0052) is 8.8; that of the PET is 1.1"),
    "head CT": (
        replace(WHOLE, series_instance_uid="9", z_range_mm=(500.0, 700.0), n_instances=999), NOT_SELECTED,
        "no slice position"),
    "chest CT": (
        replace(WHOLE, series_instance_uid="9", z_range_mm=(200.0, 400.0), n_instances=999), NOT_SELECTED, "covers more"),
    "fewer slices": (replace(WHOLE, series_instance_uid="9", n_instances=80), NOT_SELECTED, "more slices"),
    "enhanced CT": (
        classed(replace(WHOLE, series_instance_uid="9"), ENHANCED_CT), RefusalCode.SOP_CLASS_UNSUPPORTED,
        "Enhanced CT Image Storage"),
    "phantom": (replace(AC, series_instance_uid="9", quality_control=True), RefusalCode.EXCLUDED_PHANTOM, "(0028,0300)"),
    "captured MIP": (
        classed(replace(AC, series_instance_uid="9"), CAPTURE), RefusalCode.SOP_CLASS_UNSUPPORTED, CAPTURE),
    "projections": (
        replace(AC, series_instance_uid="9", series_type=("WHOLE BODY", "REPROJECTION")), NOT_SELECTED, "(0054,1000)"),
    "no ATTN": (
        replace(AC, series_instance_uid="9", corrected_image=frozenset({"DECY"})),
        RefusalCode.PET_NOT_ATTENUATION_CORRECTED, "CorrectedImage (0028,0051)"),
    "method NONE": (
        replace(AC, series_instance_uid="9", attenuation_correction="NONE"), RefusalCode.PET_NOT_ATTENUATION_CORRECTED,
        "AttenuationCorrectionMethod (0054,1101) is NONE"),
    "ATTN listed, method missing": (
        replace(AC, series_instance_uid="9", attenuation_correction=""), RefusalCode.PET_NOT_ATTENUATION_CORRECTED,
        "AttenuationCorrectionMethod (0054,1101) is missing"),
    "NAC by name": (
        replace(AC, series_instance_uid="9", description="WB NAC"), NOT_SELECTED, "SeriesDescription (0008,103E)"),
    "mapping": (
        SeriesFacts(series_instance_uid="9", modality="RWV", sop_class_uids=frozenset({"1.2.840.10008.5.1.4.1.1.67"})),
        NOT_SELECTED, "not an image series that is scored"),
    "foreign SEG": (
        replace(SEG, series_instance_uid="9", frame_of_reference_uids=frozenset({"8"}), referenced_series_uids=frozenset()),
        RefusalCode.ROI_REFERENCE_MISSING, "frame of reference"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_a_further_series_does_not_disturb_and_has_its_reason(case: str) -> None:
    other, code, words = OTHERS[case]
    selection = select_pet_ct([other, AC, WHOLE])
    assert (selection.pet, selection.ct, selection.rois) == (AC, WHOLE, ())
    finding = by_uid(selection.findings)["9"]
    assert finding.role is None
    assert finding.reason is not None
    assert (finding.reason.code, words in finding.reason.message) == (code, True)


REFUSED: dict[str, tuple[list[SeriesFacts], RefusalCode, str]] = {
    "nothing": ([], RefusalCode.SERIES_MISSING, "Modality (0008,0060) PT"),
    "no PET": ([WHOLE], RefusalCode.SERIES_MISSING, "no PET series"),
    "no CT": ([AC], RefusalCode.SERIES_MISSING, "no CT series"),
    "CT elsewhere": ([AC, replace(WHOLE, z_range_mm=(500.0, 700.0))], RefusalCode.SERIES_MISSING, "no slice position"),
    "two CT elsewhere": (
        [AC, *(replace(WHOLE, series_instance_uid=uid, frame_of_reference_uids=frozenset({uid})) for uid in ("3.8", "3.9"))],
        RefusalCode.SERIES_AMBIGUOUS, "3.8, 3.9"),
    "two AC": ([AC, replace(AC, series_instance_uid="2.9"), WHOLE], RefusalCode.SERIES_AMBIGUOUS, "2.1, 2.9"),
    "a PET series for each bed": (
        [replace(AC, z_range_mm=(0.0, 200.0)), replace(AC, series_instance_uid="2.9", z_range_mm=(204.0, 400.0)), WHOLE],
        RefusalCode.SERIES_AMBIGUOUS, "2.1, 2.9"),
    "two pairs, each in a frame of its own": (
        [AC, WHOLE, *(replace(s, series_instance_uid=uid, frame_of_reference_uids=frozenset({"8.8"}))
                      for s, uid in ((AC, "2.9"), (WHOLE, "3.9")))],
        RefusalCode.SERIES_AMBIGUOUS, "2.1, 2.9"),
    "two CT": ([AC, WHOLE, replace(WHOLE, series_instance_uid="3.9")], RefusalCode.SERIES_AMBIGUOUS, "3.1, 3.9"),
    "only NAC": ([NAC, WHOLE], RefusalCode.PET_NOT_ATTENUATION_CORRECTED, "Units (0054,1001) is 'PROPCNTS'"),
    "only a phantom": ([replace(AC, quality_control=True), WHOLE], RefusalCode.EXCLUDED_PHANTOM, "is YES"),
    "enhanced PET": ([classed(AC, ENHANCED_PET), WHOLE], RefusalCode.SUV_SOP_CLASS, "Enhanced PET Image Storage"),
    "legacy PET": (
        [classed(AC, "1.2.840.10008.5.1.4.1.1.128.1"), WHOLE], RefusalCode.SUV_SOP_CLASS, "Legacy Converted"),
    "enhanced CT": ([AC, classed(WHOLE, ENHANCED_CT)], RefusalCode.SOP_CLASS_UNSUPPORTED, "Enhanced CT"),
    "unknown class": ([classed(AC, "1.2.3"), WHOLE], RefusalCode.SOP_CLASS_UNSUPPORTED, "1.2.3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_study_without_its_pair_is_refused_and_still_judged(case: str) -> None:
    series, code, words = REFUSED[case]
    with pytest.raises(StudyRefusedError) as refused:
        select_pet_ct(series)
    assert refused.value.code is code
    assert words in refused.value.message
    findings = judge_series(series)
    assert [f.series_instance_uid for f in findings] == [s.series_instance_uid for s in series]
    assert all((f.role is None) != (f.reason is None) for f in findings)


FOREIGN = replace(
    WHOLE, series_instance_uid="3.8", frame_of_reference_uids=frozenset({"8.8"}), z_range_mm=(900.0, 1300.0)
)


@pytest.mark.parametrize(
    "others", [[], [replace(WHOLE, z_range_mm=(500.0, 700.0), n_instances=999)], [replace(SEG, modality="RTSTRUCT")]]
)
@pytest.mark.parametrize("frames", [FOREIGN.frame_of_reference_uids, frozenset()], ids=["foreign", "missing"])
def test_a_ct_of_another_frame_serves_where_none_shares_the_pets(
    frames: frozenset[str], others: list[SeriesFacts]
) -> None:
    """Registration places the PET on it, wherever its positions are; a head CT beside the PET is none."""
    foreign = replace(FOREIGN, frame_of_reference_uids=frames)
    assert select_pet_ct([AC, *others, foreign]).ct is foreign


@pytest.mark.parametrize("units", ["PROPCNTS", "PROPCPS", "CPS"])
def test_units_of_no_activity_are_not_corrected_whatever_the_header_lists(units: str) -> None:
    with pytest.raises(StudyRefusedError, match="PET_NOT_ATTENUATION_CORRECTED"):
        select_pet_ct([replace(AC, units=units), WHOLE])


@pytest.mark.parametrize("method", ["none", "None", ""])
def test_a_series_without_a_method_beside_one_that_has_it(method: str) -> None:
    other = replace(AC, series_instance_uid="2.9", attenuation_correction=method)
    assert select_pet_ct([AC, other, WHOLE]).pet is AC
    assert select_pet_ct([other, WHOLE]).pet is other, "alone it proves nothing"


@pytest.mark.parametrize(
    "words", ["WB NAC", "Non-Attenuation corrected", "non attenuation", "PET no AC", "Uncorrected"]
)
def test_names_of_uncorrected_series_break_a_tie_only(words: str) -> None:
    named = replace(AC, series_instance_uid="2.9", description=words)
    assert select_pet_ct([named, AC, WHOLE]).pet is AC
    assert select_pet_ct([named, WHOLE]).pet is named


def test_a_region_of_either_frame_is_kept() -> None:
    drawn = replace(SEG, referenced_series_uids=frozenset(), frame_of_reference_uids=FOREIGN.frame_of_reference_uids)
    assert select_pet_ct([AC, FOREIGN, SEG, drawn]).rois == (SEG, drawn)


def test_a_derived_ct_serves_where_no_original_is_there() -> None:
    """Lossy compression makes an image DERIVED (PS3.3 C.7.6.1.1.2) and no worse a stack."""
    derived = replace(WHOLE, image_type=("DERIVED", "PRIMARY"))
    assert select_pet_ct([AC, derived]).ct is derived


def test_site_acceptance_measures_phantoms_without_ct() -> None:
    phantom = replace(AC, quality_control=True)
    assert select_pet([phantom], allow_phantoms=True) is phantom
    assert pet_reasons([phantom], allow_phantoms=True) == {}
    with pytest.raises(StudyRefusedError, match="EXCLUDED_PHANTOM"):
        select_pet([phantom])


@pytest.mark.shared_data
def test_lung_study(shared_data: Path) -> None:
    """AC beside NAC, CT beside its scout, three SEG, three mappings (its README)."""
    folder = shared_data / "petct_lung_acrin042"
    series = group_series(read_folder(folder).datasets)
    selection = select_pet_ct([series_facts(s) for s in series])
    assert (selection.pet.description, selection.ct.description) == ("PET AC", "CT IMAGES")
    assert selection.ct.n_instances == 135
    assert len(selection.rois) == 3
    reasons = {f.modality: f.reason.code for f in selection.findings if f.reason is not None}
    assert reasons == {"CT": NOT_SELECTED, "PT": RefusalCode.PET_NOT_ATTENUATION_CORRECTED, "RWV": NOT_SELECTED}
