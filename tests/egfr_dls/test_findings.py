"""Findings and evidence cross processes as bytes: what comes back is what went in, and the same value is the same bytes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egfr_dls.evidence import EvidenceImages, LesionEvidence
from egfr_dls.findings import (
    PRIOR_KEYS,
    RESULT_SCHEMA,
    ContextFinding,
    FindingStatus,
    LesionFinding,
    ModelUse,
    ObjectEntry,
    PatientFinding,
    PriorFinding,
    SeriesFinding,
    SliceFinding,
    StudyFindings,
    result_document,
)
from egfr_dls.refusals import Remark
from egfr_dls.study import Pathway, RoiSource

# result.json, schema egfr-dls-result/1: the operator's contract; keys are only added.
DOCUMENT_KEYS = {
    "schema", "product_version", "analysed_at", "study_instance_uid", "biomarker", "status", "partial", "refusal", "model",
    "companion_model", "series", "lesions", "patient", "clinical_context", "warnings", "priors", "objects",
    "timings_seconds",
}  # fmt: skip
LESION_KEYS = {
    "label", "roi_source", "confirmed", "tracking_uid", "volume_ml", "suv_max", "suv_mean", "mtv_ml", "tlg_g", "egfr_dls",
    "pdl1_dls", "slice_sd", "slices", "reason", "roi_sop_instance_uid", "roi_number", "roi_description",
    "roi_drawn_by", "roi_drawn_at", "roi_instead_of", "distance_to_cut_off", "pixel_mm", "slices_refused",
    "roi_confirmed_by", "roi_confirmed_at",
}  # fmt: skip
PATIENT_KEYS = {
    "egfr_dls", "pdl1_dls", "slice_sd", "n_slices", "pathway", "rationale", "caveats", "distance_to_cut_off",
}  # fmt: skip
SLICE_KEYS = {"position_mm", "egfr_dls", "pdl1_dls", "side_mm", "margin_mm"}
CONTEXT_KEYS = {"histology", "treatment_began", "tissue_egfr_mutant", "tissue_pdl1_tps_percent"}

numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=12)
remarks = st.builds(Remark, texts, texts)
models = st.builds(ModelUse, texts, texts, texts, st.just("research"), numbers, texts, texts)
slices = st.builds(SliceFinding, numbers, numbers, st.none() | numbers, texts, texts, numbers, numbers)
lesions = st.builds(
    LesionFinding,
    label=texts,
    roi_source=st.sampled_from(RoiSource),
    confirmed=st.booleans(),
    tracking_uid=texts,
    volume_ml=numbers,
    **{k: st.none() | numbers for k in ("suv_max", "suv_mean", "mtv_ml", "tlg_g", "egfr_dls", "pdl1_dls", "slice_sd")},
    slices=st.lists(slices, max_size=3).map(tuple),
    reason=st.none() | remarks,
    roi_drawn_by=texts,
    roi_drawn_at=st.none() | texts,
    roi_instead_of=st.lists(texts, max_size=2).map(tuple),
    distance_to_cut_off=st.none() | numbers,
    pixel_mm=st.none() | st.tuples(numbers, numbers),
    roi_confirmed_by=texts,
    roi_confirmed_at=st.none() | texts,
)
findings = st.builds(
    StudyFindings,
    product_version=texts,
    study_instance_uid=texts,
    biomarker=st.none() | texts,
    status=st.sampled_from(FindingStatus),
    partial=st.booleans(),
    refusal=st.none() | remarks,
    model=st.none() | models,
    companion_model=st.none() | models,
    series=st.lists(st.builds(SeriesFinding, texts, texts, st.none() | texts, st.none() | remarks), max_size=3).map(
        tuple
    ),
    lesions=st.lists(lesions, max_size=2).map(tuple),
    patient=st.builds(
        PatientFinding,
        egfr_dls=st.none() | numbers,
        pathway=st.none() | st.sampled_from(Pathway),
        caveats=st.lists(texts, max_size=2).map(tuple),
    ),
    warnings=st.lists(remarks, max_size=2).map(tuple),
    inputs_sha256=texts,
    configuration_sha256=texts,
    images_read=st.lists(texts, max_size=3).map(tuple),
    timings_seconds=st.dictionaries(texts, numbers, max_size=2),
    priors=st.lists(
        st.builds(
            PriorFinding, texts, numbers, st.none() | numbers, texts, st.booleans(), texts, texts, numbers, texts
        ),
        max_size=2,
    ).map(tuple),
    clinical_context=st.builds(
        ContextFinding,
        st.none() | texts,
        st.none() | st.booleans(),
        st.none() | st.booleans(),
        st.none() | numbers,
    ),
)
SCORED = StudyFindings(
    "0.1.0", "1.2", "pet_ct_egfr", FindingStatus.SCORED, False, None,
    ModelUse("n", "1", "ab", "research", 0.5, "onnxruntime-cpu"), None, (SeriesFinding("1.2.3", "PT", "pet", None),),
    (
        LesionFinding(
            "Lesion 1", RoiSource.PROPOSED, False, "2.25.1", 1 / 3, None, None, None, None, 0.6512, None, None,
            (SliceFinding(1.5, 0.6512, None, "1", "2", 60.0, 10.0),), None,
        ),
    ),
    PatientFinding(0.6512, n_slices=1), (), "in", "conf",
)  # fmt: skip


@given(findings)
def test_findings_come_back_equal_and_as_the_same_text(found: StudyFindings) -> None:
    text = found.to_json()
    assert StudyFindings.from_json(text) == found
    assert StudyFindings.from_json(text).to_json() == text


@given(findings)
def test_document_has_the_keys_of_the_contract_and_is_strict_json(found: StudyFindings) -> None:
    document = result_document(
        found, "2026-01-31T09:30:00+00:00", (ObjectEntry("report", "objects/report.dcm", "1", "2"),)
    )
    text = json.dumps(document, allow_nan=False)
    read: dict[str, Any] = json.loads(text)
    assert read["schema"] == RESULT_SCHEMA
    assert read.keys() == DOCUMENT_KEYS
    assert all(lesion.keys() == LESION_KEYS for lesion in read["lesions"])
    assert all(s.keys() == SLICE_KEYS for x in read["lesions"] for s in x["slices"])
    assert read["patient"].keys() == PATIENT_KEYS
    assert read["clinical_context"].keys() == CONTEXT_KEYS
    assert all(s.keys() == {"series_instance_uid", "modality", "role", "reason"} for s in read["series"])
    assert all(w.keys() == {"code", "message"} for w in read["warnings"])
    assert all(p.keys() == {*PRIOR_KEYS, "comparable"} for p in read["priors"])
    assert read["objects"][0].keys() == {"kind", "path", "sop_class_uid", "sop_instance_uid"}
    assert read["model"] is None or read["model"].keys() == {"name", "version", "sha256", "status"}


MADE = ModelUse("n", "1", "ab", "research", 0.5, "onnxruntime-cpu", "ef")
PRIOR = PriorFinding("2025-01-31", 0.5, None, "ledger", False, "n 1", "ab", 0.5, "ef")


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, ()),
        ({"model": "m 1"}, ("network",)),
        ({"model": "n 2"}, ("version",)),
        ({"model": "n"}, ("network", "version")),
        ({"model_sha256": "cd"}, ("weights",)),
        ({"preprocessing_sha256": "01"}, ("preprocessing",)),
        ({"preprocessing_sha256": ""}, ("preprocessing",)),
        ({"cut_off": 0.4}, ("cut-off",)),
    ],
)
def test_results_are_comparable_only_where_all_that_made_them_is_the_same(
    change: dict[str, Any], differs: tuple[str, ...]
) -> None:
    found = replace(SCORED, model=MADE, priors=(replace(PRIOR, **change),))
    assert found.differs(*found.priors) == differs
    assert [p["comparable"] for p in result_document(found, "", ())["priors"]] == [not differs]


def test_without_a_network_or_with_unknown_preprocessing_nothing_is_comparable() -> None:
    assert replace(SCORED, model=None).differs(PRIOR) == ("network",)
    unknown = replace(SCORED, model=replace(MADE, preprocessing_sha256=""))
    assert unknown.differs(replace(PRIOR, preprocessing_sha256="")) == ("preprocessing",)


def test_unknown_is_null_and_numbers_are_not_rounded() -> None:
    lesion = result_document(SCORED, "", ())["lesions"][0]
    assert lesion["suv_max"] is None
    assert lesion["volume_ml"] == 1 / 3
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(SCORED, timings_seconds={"x": math.nan}).to_json()


def test_one_demonstration_network_makes_a_demonstration() -> None:
    assert not SCORED.demonstration
    demonstration = ModelUse("n", "1", "ab", "demonstration", 0.5, "onnxruntime-cpu")
    assert replace(SCORED, companion_model=demonstration).demonstration
    assert replace(SCORED, model=demonstration).demonstration


def evidence(seed: int, *, maps: bool = True) -> EvidenceImages:
    """Return random pictures of one lesion; the mask's size is no multiple of 8."""
    random = np.random.default_rng(seed)
    shape = (2, 5, 7)
    cam = random.normal(size=shape).astype(np.float32) if maps else None
    lesion = LesionEvidence(
        "Lesion 1",
        random.random((3, 5, 7)) > 0.5,
        ("1.1", "1.2", "1.3"),
        random.integers(-1000, 1000, shape, np.int16),
        random.normal(size=shape).astype(np.float32),
        random.random(shape) > 0.5,
        random.integers(0, 9, (2, 4), np.int32),
        cam,
        cam,
        (1.0, 1.5),
    )
    return EvidenceImages((lesion, replace(lesion, label="Lesion 2")), pet_is_suv=True)


@pytest.mark.parametrize("maps", [True, False])
def test_evidence_comes_back_equal(maps: bool) -> None:
    given_images = evidence(3, maps=maps)
    read = EvidenceImages.from_bytes(given_images.to_bytes())
    assert read.pet_is_suv
    assert [x.label for x in read.lesions] == ["Lesion 1", "Lesion 2"]
    for a, b in zip(given_images.lesions, read.lesions, strict=True):
        for name in ("mask", "ct_hu", "pet", "roi", "box", "cam_positive", "cam_negative"):
            wanted, found = getattr(a, name), getattr(b, name)
            assert (wanted is None) == (found is None)
            if wanted is not None:
                assert (wanted.dtype, wanted.shape) == (found.dtype, found.shape)
                np.testing.assert_array_equal(wanted, found)
        assert (a.mask_sop_instance_uids, a.pixel_mm) == (b.mask_sop_instance_uids, b.pixel_mm)


def test_same_evidence_is_the_same_bytes_whenever_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    first = evidence(3).to_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2040, 1, 1, 0, 0, 0, 0, 0, 0))
    assert evidence(3).to_bytes() == first
    assert EvidenceImages.from_bytes(first).to_bytes() == first
    assert evidence(4).to_bytes() != first


def test_study_without_pictures_has_empty_evidence() -> None:
    assert EvidenceImages.from_bytes(EvidenceImages((), pet_is_suv=False).to_bytes()).lesions == ()
