"""Volumes, regions and two tiny networks become findings, pictures and a conclusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from egfr_dls.errors import StudyRefusedError
from egfr_dls.evidence import EvidenceImages
from egfr_dls.refusals import RefusalCode, WarningCode
from egfr_dls.study import Pathway
from inference.biomarkers.contract import Conclusion, StudyInputs
from inference.biomarkers.pet_ct_egfr.analysis import analyse, draw, score_lesions
from inference.biomarkers.pet_ct_egfr.hyperimage import prepare
from inference.engine.contract import EngineOptions
from inference.engine.gate import Scorer, load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage, Preprocessing
from inference.roi.region import Roi
from tests.inference.biomarkers.volumes import SHAPE, ball, ct, pet, roi
from tests.inference.packages import network, run, write_package


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scorer]:
    """An EGFR network of one input and a PD-L1 network of three."""
    root = tmp_path_factory.mktemp("models")
    folders = {
        "egfr": write_package(root / "egfr"),
        "pdl1": write_package(root / "pdl1", network(seed=5, planes=True)),
    }
    return {task: _scorer(folder) for task, folder in folders.items()}


def _scorer(folder: Path) -> Scorer:
    return load_scorer(ModelPackage.read(folder), OrtBackend(), EngineOptions(max_batch=4))


SMALL = np.zeros(SHAPE, np.bool_)
SMALL[5:7, 10:12, 10:12] = True
OTHER = ball(7.0, (5, 90, 40))


def _inputs(*rois: Roi, **changes: object) -> StudyInputs:
    return replace(StudyInputs({"ct": ct(), "pet": pet()}, rois or (roi(),)), **changes)  # type: ignore[arg-type]


def _codes(conclusion: Conclusion) -> list[str]:
    return [w.code for w in conclusion.warnings]


def test_the_scores_are_those_of_the_networks(scorers: Mapping[str, Scorer]) -> None:
    """An independent run of both graphs on the prepared images gives the same slice scores and means."""
    conclusion = analyse(_inputs(), scorers)
    images = prepare(ct(), pet(), ball(), Preprocessing()).images
    egfr = run(network(), images)["prob"][:, 1].astype(np.float64)
    pdl1 = run(network(seed=5, planes=True), images)["prob"][:, 1].astype(np.float64)
    (lesion,) = conclusion.lesions
    assert [s.egfr_dls for s in lesion.slices] == pytest.approx(egfr, abs=1e-4)
    assert [s.pdl1_dls for s in lesion.slices] == pytest.approx(pdl1, abs=1e-4)
    assert lesion.egfr_dls == pytest.approx(egfr.mean(), abs=1e-4)
    assert lesion.pdl1_dls == pytest.approx(pdl1.mean(), abs=1e-4)
    assert lesion.slice_sd == pytest.approx(egfr.std(ddof=1), abs=1e-6)
    assert conclusion.patient.egfr_dls == lesion.egfr_dls
    assert conclusion.patient.n_slices == len(images)
    assert lesion.distance_to_cut_off == pytest.approx(egfr.mean() - 0.5, abs=1e-6)
    assert conclusion.patient.distance_to_cut_off == lesion.distance_to_cut_off
    assert lesion.pixel_mm == (0.9, 0.9)
    assert not conclusion.partial


def test_findings_name_the_slices_that_the_networks_read(scorers: Mapping[str, Scorer]) -> None:
    """CT and PET instance of each slice, each once."""
    conclusion = analyse(_inputs(roi(), roi("Lesion 2")), scorers)
    z = prepare(ct(), pet(), ball(), Preprocessing()).slice_index
    assert conclusion.images_read == tuple(uid for i in z for uid in (f"ct.{i}", f"pet.{i}"))
    assert [s.position_mm for s in conclusion.lesions[0].slices] == [-150.0 + 3.0 * i for i in z]


def test_without_the_companion_the_score_stands_alone(scorers: Mapping[str, Scorer]) -> None:
    """No PD-L1 package is no fault: nothing is partial."""
    conclusion = analyse(_inputs(), {"egfr": scorers["egfr"]})
    assert conclusion.patient.pdl1_dls is None
    assert not conclusion.partial


def test_a_companion_that_cannot_score_makes_the_study_partial(scorers: Mapping[str, Scorer], tmp_path: Path) -> None:
    """Its recipe demands slices that the lesion does not have; the rationale says so."""
    recipe = {"id": "mu2020-hyperimage-1", "input_signature": "planes", "min_area_mm2": 5000}
    strict = _scorer(write_package(tmp_path / "pdl1", network(planes=True), preprocessing=recipe))
    conclusion = analyse(_inputs(), {**scorers, "pdl1": strict})
    assert conclusion.partial
    assert conclusion.patient.egfr_dls is not None
    assert conclusion.patient.pdl1_dls is None
    assert "PDL1_DLS is missing (ROI_TOO_SMALL" in conclusion.patient.rationale


def test_the_patient_has_the_primarys_score(scorers: Mapping[str, Scorer]) -> None:
    """The first region's, whatever the others say."""
    conclusion = analyse(_inputs(roi(), roi("Lesion 2", OTHER)), scorers)
    assert conclusion.patient.egfr_dls == conclusion.lesions[0].egfr_dls
    assert conclusion.lesions[1].egfr_dls is not None


def test_an_unscorable_primary_gives_way_and_is_named(scorers: Mapping[str, Scorer]) -> None:
    """The highest-ranked lesion with a score; its reason stands in the finding and in the rationale."""
    conclusion = analyse(_inputs(roi("Lesion 1", SMALL), roi("Lesion 2")), scorers)
    first, second = conclusion.lesions
    assert first.reason is not None
    assert first.reason.code == RefusalCode.ROI_TOO_SMALL
    assert first.egfr_dls is None
    assert conclusion.patient.egfr_dls == second.egfr_dls
    assert "Lesion 1, cannot be scored (ROI_TOO_SMALL); the score is that of Lesion 2" in conclusion.patient.rationale
    assert conclusion.partial
    assert [x.label for x in conclusion.evidence.lesions] == ["Lesion 2"]


def test_a_study_without_a_scorable_lesion_is_refused(scorers: Mapping[str, Scorer]) -> None:
    """With the primary's code and every lesion's reason."""
    with pytest.raises(StudyRefusedError, match=r"none of 2 lesions.*Lesion 1: .*Lesion 2: ") as caught:
        analyse(_inputs(roi("Lesion 1", SMALL), roi("Lesion 2", SMALL)), scorers)
    assert caught.value.code is RefusalCode.ROI_TOO_SMALL


def test_a_study_without_regions_is_refused(scorers: Mapping[str, Scorer]) -> None:
    """Nothing to score is a refusal, not a defect."""
    with pytest.raises(StudyRefusedError) as caught:
        analyse(replace(_inputs(), rois=()), scorers)
    assert caught.value.code is RefusalCode.NO_ROI


def test_a_lesion_outside_the_chest_is_scored_without_a_pathway(scorers: Mapping[str, Scorer]) -> None:
    """Score with the remark; only the lesion that gives the patient's score decides the pathway."""
    conclusion = analyse(_inputs(outside_chest=frozenset({"Lesion 1"})), scorers)
    assert conclusion.patient.egfr_dls is not None
    assert conclusion.patient.pathway is Pathway.NO_SUGGESTION
    assert WarningCode.OUTSIDE_TRAINING_DOMAIN in _codes(conclusion)
    other = analyse(_inputs(roi(), roi("Lesion 2", OTHER), outside_chest=frozenset({"Lesion 2"})), scorers)
    assert other.patient.pathway is not Pathway.NO_SUGGESTION


def test_a_proposed_region_is_said_to_be_unverified(scorers: Mapping[str, Scorer]) -> None:
    """The outcome is kept; the conclusion begins with the remark."""
    confirmed, proposed = (analyse(_inputs(roi(confirmed=c)), scorers) for c in (True, False))
    assert proposed.patient.pathway is confirmed.patient.pathway
    assert proposed.patient.rationale.startswith("Unverified ROI")
    assert not confirmed.patient.rationale.startswith("Unverified ROI")


def test_a_proposed_region_is_never_taken_for_a_drawn_box(scorers: Mapping[str, Scorer]) -> None:
    """`stored_roi_is = "box"` holds for stored regions only."""
    proposed = analyse(_inputs(roi(confirmed=False), stored_roi_is="box"), scorers).lesions[0]
    assert [s.margin_mm for s in proposed.slices] == pytest.approx([15.0] * len(proposed.slices))


def test_slices_that_the_field_of_view_check_takes_out_are_counted(scorers: Mapping[str, Scorer]) -> None:
    """A drawn box over slices without tumour."""
    box = np.zeros(SHAPE, np.bool_)
    box[1:10, 36:85, 46:95] = True
    (lesion,) = analyse(_inputs(roi(mask=box), stored_roi_is="box"), scorers).lesions
    assert lesion.slices_refused == 2
    assert len(lesion.slices) == 7


def test_warnings_name_their_lesion(scorers: Mapping[str, Scorer]) -> None:
    """A reader of several lesions must know which one is meant."""
    edge = ball(centre=(6, 60, 8))
    conclusion = analyse(_inputs(roi(), roi("Lesion 2", edge)), scorers)
    (padded,) = [w for w in conclusion.warnings if w.code == WarningCode.CROP_PADDED]
    assert padded.message.startswith("Lesion 2: ")


def test_beyond_the_bounds_of_the_evidence_none_is_quoted(scorers: Mapping[str, Scorer], tmp_path: Path) -> None:
    """A drawn box with a wide margin, a region without uptake, another cut-off: the score stays, the figures go."""
    wide = np.zeros(SHAPE, np.bool_)
    wide[3:10, 25:96, 35:106] = True
    cold = np.zeros(SHAPE, np.bool_)
    cold[2:8, 15:26, 25:36] = True
    recipe = {"id": "mu2020-hyperimage-1", "cut_off": 0.42}
    other = _scorer(write_package(tmp_path / "egfr", network(), preprocessing=recipe))
    told = {
        "around the tumour": analyse(_inputs(roi(mask=wide), stored_roi_is="box"), scorers),
        "without uptake": analyse(
            replace(
                _inputs(roi(mask=cold)),
                volumes={"ct": ct(), "pet": replace(pet(), voxels=pet().voxels.clip(0.55, 0.65))},
            ),
            scorers,
        ),
        "a cut-off other than 0.5": analyse(_inputs(), {**scorers, "egfr": other}),
    }
    for words, conclusion in told.items():
        assert conclusion.patient.egfr_dls is not None
        assert words in conclusion.patient.rationale
        assert "Evidence: " not in conclusion.patient.rationale
    assert "Evidence: " in analyse(_inputs(), scorers).patient.rationale


def test_the_pictures_hold_what_the_network_saw(scorers: Mapping[str, Scorer]) -> None:
    """Crops of about 160 mm on the CT grid: HU, PET, region, box and maps agree with the volumes."""
    conclusion = analyse(_inputs(), scorers)
    (lesion,) = conclusion.evidence.lesions
    n, rows, columns = lesion.ct_hu.shape
    assert n == len(conclusion.lesions[0].slices)
    assert rows * 0.9 == pytest.approx(160, abs=3)
    assert columns == rows
    assert lesion.roi.sum() == sum(ball()[z].sum() for z in prepare(ct(), pet(), ball(), Preprocessing()).slice_index)
    assert lesion.ct_hu[lesion.roi].mean() == pytest.approx(40, abs=5)
    assert lesion.pet[lesion.roi].mean() == pytest.approx(8, abs=0.3)
    assert lesion.mask_sop_instance_uids == tuple(f"ct.{z}" for z in np.flatnonzero(ball().any(axis=(1, 2))))
    assert np.array_equal(lesion.mask, ball()[ball().any(axis=(1, 2))])
    row0, column0, row1, column1 = lesion.box[0]
    assert lesion.roi[0, row0:row1, column0:column1].sum() == lesion.roi[0].sum()


def test_the_maps_lie_in_their_boxes_on_one_scale(scorers: Mapping[str, Scorer]) -> None:
    """0 outside the box; over all lesions and both maps the largest value is near 1, and nowhere above."""
    lesions = analyse(_inputs(roi(), roi("Lesion 2", OTHER)), scorers).evidence.lesions
    highest = 0.0
    for lesion in lesions:
        assert lesion.cam_positive is not None
        assert lesion.cam_negative is not None
        for cams in (lesion.cam_positive, lesion.cam_negative):
            for cam, (row0, column0, row1, column1) in zip(cams, lesion.box, strict=True):
                outside = cam.copy()
                outside[row0:row1, column0:column1] = 0
                assert not outside.any()
            highest = max(highest, float(cams.max()))
    assert 0.8 < highest <= 1.0


def test_one_scale_shows_which_lesion_has_more_evidence(scorers: Mapping[str, Scorer]) -> None:
    """The drawn maxima stand to one another as those of the network's own maps."""
    rois = (roi(), roi("Lesion 2", OTHER))
    raw = [lesion.maps for lesion in score_lesions(ct(), pet(), rois, scorers["egfr"])]
    drawn = draw(ct(), pet(), score_lesions(ct(), pet(), rois, scorers["egfr"]))
    ratios = []
    for maps, shown in zip(raw, drawn, strict=True):
        assert maps is not None
        assert shown.cam_positive is not None
        assert shown.cam_negative is not None
        largest_drawn = max(shown.cam_positive.max(), shown.cam_negative.max())
        ratios.append(largest_drawn / max(maps.positive.max(), maps.negative.max()))
    assert ratios[0] == pytest.approx(ratios[1], rel=0.15)  # drawn between the cells' centres
    peaks = [max(m.positive.max(), m.negative.max()) for m in raw if m is not None]
    assert max(peaks) / min(peaks) > 1.2


def test_the_positive_map_is_that_of_the_manifests_class(scorers: Mapping[str, Scorer], tmp_path: Path) -> None:
    """A network whose positive class is its first column."""
    recipe = {"id": "mu2020-hyperimage-1", "class_index": 0}
    first = _scorer(write_package(tmp_path / "egfr", network(), preprocessing=recipe))
    (one,) = score_lesions(ct(), pet(), (roi(),), scorers["egfr"])
    (zero,) = score_lesions(ct(), pet(), (roi(),), first)
    assert one.maps is not None
    assert zero.maps is not None
    assert np.array_equal(zero.maps.positive, one.maps.negative)
    assert np.array_equal(zero.maps.negative, one.maps.positive)
    assert not np.array_equal(one.maps.negative, one.maps.positive)


def test_without_maps_there_are_pictures_all_the_same(scorers: Mapping[str, Scorer], tmp_path: Path) -> None:
    """A network whose head allows no maps: the crops stay."""
    plain = _scorer(write_package(tmp_path / "plain", network(cam=False)))
    (lesion,) = analyse(_inputs(), {"egfr": plain}).evidence.lesions
    assert lesion.cam_positive is None
    assert lesion.ct_hu.any()


def test_the_pictures_survive_the_object_store(scorers: Mapping[str, Scorer]) -> None:
    """What reporting reads is what inference drew."""
    evidence = analyse(_inputs(), scorers).evidence
    read = EvidenceImages.from_bytes(evidence.to_bytes())
    assert np.array_equal(read.lesions[0].pet, evidence.lesions[0].pet)
    assert np.array_equal(read.lesions[0].mask, evidence.lesions[0].mask)
    assert read.pet_is_suv


def test_the_same_study_gives_the_same_conclusion(scorers: Mapping[str, Scorer]) -> None:
    """Bit for bit, pictures included."""
    one, two = analyse(_inputs(), scorers), analyse(_inputs(), scorers)
    assert (one.lesions, one.patient, one.warnings) == (two.lesions, two.patient, two.warnings)
    assert one.evidence.to_bytes() == two.evidence.to_bytes()
