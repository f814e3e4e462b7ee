"""One study through one biomarker: what the findings hold, what decides between refusals, and what the inputs digest sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from egfr_dls import settings
from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import StudyFindings
from egfr_dls.refusals import RefusalCode
from egfr_dls.settings import Settings
from inference.biomarkers.registry import BIOMARKERS, load_scorers
from inference.engine.gate import Scorer
from inference.study_analysis import Analysis, analyse_study
from tests.inference.packages import network, write_package
from tests.system.study_data import of_modality, small_study

INCOMPLETE = StudyRefusedError(RefusalCode.STUDY_INCOMPLETE, "half of it")
(PET_CT,) = BIOMARKERS


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with both networks in their smallest form."""
    folder = tmp_path_factory.mktemp("models")
    write_package(folder / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    return settings.load(None, {"storage": {"root": Path("unused")}, "inference": {"models": str(folder)}})


@pytest.fixture(scope="module")
def scorers(loaded: Settings) -> Mapping[str, Scorer]:
    """The networks, opened once."""
    return load_scorers(PET_CT, loaded)


@pytest.fixture
def analyse(loaded: Settings, scorers: Mapping[str, Scorer]) -> Any:
    """Analyse datasets under the default settings, or under other ones of the biomarker."""

    def call(datasets: Sequence[Dataset], biomarker: Mapping[str, Any] | None = None, **more: Any) -> Analysis:
        chosen = loaded
        if biomarker:
            changed = loaded.biomarkers.pet_ct_egfr.model_copy(update=dict(biomarker))
            chosen = loaded.model_copy(
                update={"biomarkers": loaded.biomarkers.model_copy(update={"pet_ct_egfr": changed})}
            )
        return analyse_study(datasets, PET_CT, scorers, chosen, **more)

    return call


def facts(found: StudyFindings) -> StudyFindings:
    """Return the findings without what depends on the clock."""
    return replace(found, timings_seconds={})


def test_scored_findings_name_all_that_a_report_needs(analyse: Any) -> None:
    study = small_study(1)
    analysis = analyse(study)
    found = analysis.findings
    uids = {str(ds.SOPInstanceUID) for ds in study}
    assert (found.status, found.partial, found.refusal) == ("scored", False, None)
    assert (found.model.name, found.companion_model.name) == ("tiny-egfr", "tiny-pdl1")
    assert found.reference_sop_instance_uid in {str(ds.SOPInstanceUID) for ds in of_modality(study, "PT")}
    assert set(found.images_read) <= uids
    assert len(found.images_read) >= 2 * found.patient.n_slices > 0
    assert [e.label for e in analysis.evidence.lesions] == [lesion.label for lesion in found.lesions]
    assert analysis.evidence.pet_is_suv
    assert set(found.timings_seconds) == {"series", "suv", "pixels", "one grid", "regions", "networks"}
    assert all(seconds >= 0 for seconds in found.timings_seconds.values())


def test_progress_names_each_step_as_it_begins(analyse: Any) -> None:
    steps: list[str] = []
    analyse(small_study(1), progress=steps.append)
    assert steps == ["series", "suv", "pixels", "one grid", "regions", "networks"]


def test_order_of_the_instances_changes_nothing(analyse: Any) -> None:
    study = small_study(1)
    assert facts(analyse(study).findings) == facts(analyse(study[::-1]).findings)


def test_refused_findings_show_what_was_considered(analyse: Any) -> None:
    study = of_modality(small_study(1), "PT", "SEG")
    analysis = analyse(study)
    found = analysis.findings
    assert (found.status, found.refusal.code) == ("refused", "SERIES_MISSING")
    assert {s.modality: s.role for s in found.series} == {"PT": "pet", "SEG": "roi"}
    assert len(found.images_read) == 1  # the middle image of the one image series
    assert analysis.evidence.lesions == ()
    assert (found.model.name, found.lesions, found.patient.egfr_dls) == ("tiny-egfr", (), None)


def test_study_without_images_is_reported_under_whatever_there_is(analyse: Any) -> None:
    (seg,) = of_modality(small_study(1), "SEG")
    found = analyse([seg]).findings
    assert found.refusal.code == "SERIES_MISSING"
    assert found.reference_sop_instance_uid == str(seg.SOPInstanceUID)


def test_study_of_which_no_instance_is_left_is_refused_by_name(analyse: Any) -> None:
    """A report needs the header of one; the caller says so without it."""
    with pytest.raises(StudyRefusedError) as refused:
        analyse([])
    assert refused.value.code is RefusalCode.SERIES_MISSING


def test_incomplete_study_is_refused_so_unless_its_series_say_more(analyse: Any) -> None:
    whole = analyse(small_study(1), refuse_as=INCOMPLETE).findings
    assert (whole.refusal.code, [s.role for s in whole.series if s.role is None]) == ("STUDY_INCOMPLETE", [])
    without_ct = of_modality(small_study(1), "PT", "SEG")
    assert analyse(without_ct, refuse_as=INCOMPLETE).findings.refusal.code == "SERIES_MISSING"


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize("place", [0, 3, -1])
def test_one_slice_of_another_patient_refuses_the_pair(analyse: Any, modality: str, place: int) -> None:
    study = small_study(1)
    of_modality(study, modality)[place].PatientID = "SOMEBODY ELSE"
    refusal = analyse(study).findings.refusal
    assert (refusal.code, "PatientID (0010,0020)" in refusal.message) == ("SERIES_AMBIGUOUS", True)
    assert "SOMEBODY" not in refusal.message


def test_a_region_of_another_patient_is_not_used_and_said(analyse: Any) -> None:
    study = small_study(1)
    (seg,) = of_modality(study, "SEG")
    seg.PatientID = "SOMEBODY ELSE"
    refusal = analyse(study, {"propose_roi": False}).findings.refusal
    assert refusal.code == "NO_ROI"
    assert f"SEG {seg.SOPInstanceUID} is not used: its PatientID (0010,0020)" in refusal.message
    assert "SOMEBODY" not in refusal.message
    seg.PatientID = ""  # says of nobody that it is his
    assert analyse(study).findings.status == "scored"


def test_missing_scale_follows_the_sites_policy(analyse: Any) -> None:
    study = small_study(1)
    for ds in study:
        ds.pop("PatientWeight", None)
    omitted = analyse(study)
    assert omitted.findings.status == "scored"
    assert not omitted.evidence.pet_is_suv
    assert "SUV_OMITTED" in {w.code for w in omitted.findings.warnings}
    refused = analyse(study, {"suv_failure_policy": "refuse"}).findings
    assert refused.refusal.code == "SUV_NO_WEIGHT"


def test_score_does_not_depend_on_the_scale(analyse: Any) -> None:
    """The network input is standardised per image: half the dose doubles SUV and leaves the score."""
    plain, heavy = small_study(1), small_study(1)
    for ds in heavy:
        if "PatientWeight" in ds:
            ds.PatientWeight = 140.0
    a, b = analyse(plain).findings, analyse(heavy).findings
    assert b.lesions[0].suv_max == pytest.approx(2 * a.lesions[0].suv_max)
    assert b.patient.egfr_dls == pytest.approx(a.patient.egfr_dls, abs=2e-4)


# the inputs digest


def changed_pixel(study: list[Dataset]) -> None:
    (ds,) = [d for d in study if d.Modality == "CT" and d.InstanceNumber == 4]
    ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]


def changed_dose(study: list[Dataset]) -> None:
    for ds in of_modality(study, "PT"):
        ds.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = 371.0e6


def changed_name(study: list[Dataset]) -> None:
    for ds in study:
        ds.PatientName = "NEW^NAME"


def changed_region(study: list[Dataset]) -> None:
    (seg,) = of_modality(study, "SEG")
    first = next(n for n, byte in enumerate(seg.PixelData) if byte)
    seg.PixelData = seg.PixelData[:first] + bytes([seg.PixelData[first] << 1 & 0xFF]) + seg.PixelData[first + 1 :]


@pytest.mark.parametrize("change", [changed_pixel, changed_dose, changed_name, changed_region])
def test_digest_sees_whatever_ends_in_the_objects(analyse: Any, change: Any) -> None:
    study = small_study(1)
    before = analyse(study).findings.inputs_sha256
    change(study)
    assert analyse(study).findings.inputs_sha256 != before


def test_digest_does_not_see_what_plays_no_role(analyse: Any) -> None:
    study = small_study(1)
    before = analyse(study).findings.inputs_sha256
    for ds in of_modality(study, "CT"):
        ds.StationName = "OTHER"
    assert analyse(study).findings.inputs_sha256 == before


def test_configuration_is_part_of_the_findings(analyse: Any) -> None:
    study = small_study(1)
    a, b = analyse(study).findings, analyse(study, {"propose_roi": False}).findings
    assert a.configuration_sha256 != b.configuration_sha256
    assert a.inputs_sha256 == b.inputs_sha256
