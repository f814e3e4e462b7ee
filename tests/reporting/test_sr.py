"""The score report's tree: numbers, origins, codes and sentences, and what viewers take for granted."""

from __future__ import annotations

import io
from dataclasses import replace

import highdicom as hd
import pytest
from pydicom import Dataset, dcmread

from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import PatientFinding
from egfr_dls.study import Pathway, RoiSource
from reporting.build import to_bytes
from reporting.context import Predecessor, ReportOptions, Revision
from reporting.source_header import SourceImages
from reporting.variants import Variant
from tests.builders import CT_SERIES_UID, PET_SERIES_UID, STUDY_UID, pet_slices, to_part10
from tests.reporting.report_cases import (
    MODEL,
    VARIANTS,
    Case,
    coded,
    demonstration,
    groups,
    items,
    lesion_finding,
    name_of,
    numbers,
    refused,
    rtstruct_case,
    scored,
    scored_findings,
    stored_seg,
    texts,
    two_lesions,
)


def report(case: Case) -> Dataset:
    return case.build()["report"].dataset


def test_the_numbers_stand_in_their_printed_form() -> None:
    ds = report(scored())
    assert numbers(ds, "EGFRDLS") == ["0.7098", "0.7098"]  # lesion, patient
    assert numbers(ds, "PDL1DLS") == ["0.3121", "0.3121"]
    assert numbers(ds, "EGFRDLS-SD") == ["0.0513", "0.0513"]
    assert numbers(ds, "NSLICES") == ["3", "3"]
    assert numbers(ds, "EGFRDLS-SLICE") == ["0.6512", "0.7304", "0.7478"]
    assert numbers(ds, "126401") == ["10.00"]
    assert numbers(ds, "126032") == ["4.02"]
    assert numbers(ds, "126033") == ["33.40"]


def test_a_score_that_rounding_would_lift_over_the_cut_off_is_cut_and_stays_wild_type() -> None:
    ds = report(
        scored(
            lesions=(lesion_finding(egfr_dls=0.49996),),
            patient=PatientFinding(0.49996, None, None, 3, Pathway.ICI, "x"),
        )
    )
    assert numbers(ds, "EGFRDLS") == ["0.4999", "0.4999"]
    assert coded(ds, "EGFR-PRED") == ["EGFR-PRED-WT", "EGFR-PRED-WT"]


def test_a_site_may_call_a_band_about_the_cut_off_indeterminate() -> None:
    near = scored(lesions=(lesion_finding(egfr_dls=0.52),))
    assert coded(report(near), "EGFR-PRED")[0] == "EGFR-PRED-MUT"
    assert (
        coded(report(replace(near, options=ReportOptions(indeterminate_band=0.05))), "EGFR-PRED")[0] == "EGFR-PRED-IND"
    )


def test_missing_numbers_are_left_out_and_never_nan() -> None:
    bare = lesion_finding(suv_max=None, suv_mean=None, mtv_ml=None, tlg_g=None, pdl1_dls=None, slice_sd=None)
    case = scored(lesions=(bare,), patient=PatientFinding(0.7098, None, None, 1, Pathway.TKI), companion_model=None)
    ds = report(case)
    assert not [name for name in ("126401", "126032", "126033", "PDL1DLS", "EGFRDLS-SD") if numbers(ds, name)]
    assert b"nan" not in to_bytes(case.build()["report"]).lower()


def test_a_study_without_lesions_in_its_findings_still_gets_its_patient_group() -> None:
    case = replace(scored(lesions=()), evidence=EvidenceImages((), pet_is_suv=False))
    assert len(groups(report(case))) == 1


def test_every_slice_score_points_at_its_ct_and_its_pet_slice() -> None:
    first = next(item for item in items(report(scored())) if name_of(item) == "EGFRDLS-SLICE")
    referred = [child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for child in first.ContentSequence]
    assert referred == [f"{CT_SERIES_UID}.4", f"{PET_SERIES_UID}.4"]


def test_the_lesion_points_at_the_segment_that_goes_out_beside_the_report() -> None:
    objects = scored().build()
    segment = next(item for item in items(objects["report"].dataset) if name_of(item) == "121191")
    assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == objects["roi"].sop_instance_uid
    assert segment.ReferencedSOPSequence[0].ReferencedSegmentNumber == 1


def test_a_stored_segment_is_referred_to_and_never_copied() -> None:
    objects = stored_seg().build()
    assert "roi" not in objects
    segment = next(item for item in items(objects["report"].dataset) if name_of(item) == "121191")
    assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY_UID}.77.1"
    assert segment.ReferencedSOPSequence[0].ReferencedSegmentNumber == 2
    assert coded(objects["report"].dataset, "ROI-SOURCE") == ["ROI-STORED-SEG"]


def test_the_evidence_lists_the_images_read_the_seg_and_the_structure_set() -> None:
    objects = rtstruct_case("MANUAL").build()
    evidence = objects["report"].dataset.CurrentRequestedProcedureEvidenceSequence
    listed = {
        i.ReferencedSOPInstanceUID
        for e in evidence
        for s in e.ReferencedSeriesSequence
        for i in s.ReferencedSOPSequence
    }
    assert listed == {*scored_findings().images_read, objects["roi"].sop_instance_uid, f"{STUDY_UID}.8.1"}


def test_the_pathway_stands_in_two_codes_and_its_rationale_only() -> None:
    ds = report(scored())
    assert coded(ds, "PATHWAY") == ["PATHWAY-TKI", "PATHWAY-TKI"]
    (rationale,) = texts(ds, "PATHWAY-WHY")
    assert rationale.startswith("Unverified ROI: EGFR-DLS high")


@pytest.mark.parametrize(
    ("pathway", "code"),
    [
        (Pathway.TKI, "PATHWAY-TKI"),
        (Pathway.ICI, "PATHWAY-ICI"),
        (Pathway.NEITHER_FAVOURED, "PATHWAY-NEITHER"),
        (Pathway.INDETERMINATE_PDL1_NEEDED, "PATHWAY-INDET"),
        (Pathway.NO_SUGGESTION, "PATHWAY-NONE"),
    ],
)
def test_each_pathway_is_filed_under_its_code(pathway: Pathway, code: str) -> None:
    patient = replace(scored_findings().patient, pathway=pathway)
    assert set(coded(report(scored(patient=patient)), "PATHWAY")) == {code}


def test_the_limitations_hold_every_warning_and_caveat_and_the_origin_of_the_region() -> None:
    said = "\n".join(texts(report(scored()), "LIMITATIONS"))
    for expected in (
        "not a molecular test",
        "NOT confirmed by a person",
        "HISTOLOGY_UNKNOWN: Histology is not known",
        "Retrospective, heterogeneous cohorts.",
    ):
        assert expected in said


def test_a_confirmed_proposal_is_no_longer_called_unconfirmed() -> None:
    ds = report(scored(lesions=(lesion_finding(confirmed=True),)))
    assert coded(ds, "ROI-SOURCE") == ["ROI-PROP-CONF"]
    assert not texts(ds, "PATHWAY-WHY")[0].startswith("Unverified")
    assert "NOT confirmed" not in "\n".join(texts(ds, "LIMITATIONS"))


def test_a_study_scored_in_part_is_partial_and_says_why_in_the_group_of_the_lesion() -> None:
    ds = report(two_lesions())
    assert ds.CompletionFlag == "PARTIAL"
    assert coded(ds, "SCORING") == ["NOT-SCORED", "SCORED-PART"]
    assert coded(ds, "NOT-SCORED-WHY") == ["NS-ROI-FIELD"]
    assert any("Lesion 2 was not scored. FOV_TRUNCATED" in text for text in texts(ds, "LIMITATIONS"))


def test_algorithm_identification_holds_the_digests() -> None:
    said = texts(report(scored()), "111002")
    assert f"weights_sha256={MODEL.sha256}" in said
    assert f"inputs_sha256={'12' * 32}" in said
    assert f"config_sha256={'34' * 32}" in said
    assert "cutoff=0.5" in said
    assert "runtime=onnxruntime-cpu" in said


def test_the_report_is_complete_unverified_and_preliminary() -> None:
    ds = report(scored())
    assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_a_revision_names_its_predecessor_and_gets_another_uid() -> None:
    first = report(scored())
    before = Predecessor(first.SOPClassUID, first.SOPInstanceUID, first.SeriesInstanceUID, first.StudyInstanceUID)
    second = report(replace(scored(), revision=Revision(2, before)))
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    assert second.InstanceNumber == 2


def request(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def requested(*asked: Dataset, **of_the_image: object) -> list[Dataset]:
    """Return the report's requests for an image that was made for these."""
    case = scored()
    case.sources.reference.RequestAttributesSequence = list(asked)
    for keyword, value in of_the_image.items():
        setattr(case.sources.reference, keyword, value)
    return list(dcmread(io.BytesIO(to_bytes(case.build()["report"]))).ReferencedRequestSequence)


def test_requests_of_the_source_are_carried_over() -> None:
    procedure = request(CodeValue="PETCT1", CodingSchemeDesignator="99SITE", CodeMeaning="PET/CT thorax")
    study = request(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID="1.2.3.4")
    first = request(
        RequestedProcedureID="RP1",
        AccessionNumber="ACC7",
        RequestedProcedureDescription="Thorax",
        RequestedProcedureCodeSequence=[procedure],
        ReferencedStudySequence=[study],
        StudyInstanceUID="1.2.3.4",
    )
    one, two = requested(first, request(RequestedProcedureID="RP2"), AccessionNumber="ACC9")
    assert (one.RequestedProcedureID, one.AccessionNumber, one.RequestedProcedureDescription) == (
        "RP1",
        "ACC7",
        "Thorax",
    )
    assert one.StudyInstanceUID == "1.2.3.4"
    assert one.RequestedProcedureCodeSequence[0] == procedure
    assert one.ReferencedStudySequence[0] == study
    assert (two.RequestedProcedureID, two.AccessionNumber, two.StudyInstanceUID) == ("RP2", "ACC9", STUDY_UID)
    assert not two.RequestedProcedureCodeSequence
    assert two.PlacerOrderNumberImagingServiceRequest == ""


def test_what_of_a_request_is_no_code_and_no_reference_is_left_out() -> None:
    half = request(CodeValue="PETCT1")
    asked = request(RequestedProcedureCodeSequence=[half], ReferencedStudySequence=[request(), half])
    (item,) = requested(asked)
    assert not item.RequestedProcedureCodeSequence
    assert not item.ReferencedStudySequence


def test_a_request_is_read_in_the_character_set_of_its_image() -> None:
    source = pet_slices(SpecificCharacterSet=["", "ISO 2022 IR 87"])[0]
    source.RequestAttributesSequence = [request(RequestedProcedureDescription="胸部検査")]
    reference = dcmread(io.BytesIO(to_part10(source)), stop_before_pixels=True)
    case = replace(scored(), sources=SourceImages(scored().sources.images, reference))
    ds = dcmread(io.BytesIO(to_bytes(case.build()["report"])))
    assert ds.ReferencedRequestSequence[0].RequestedProcedureDescription == "胸部検査"


@pytest.mark.parametrize("segmentation", [True, False], ids=["SEG", "without SEG"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_ohif_takes_for_granted(variant: str, segmentation: bool) -> None:
    """A missing piece is a TypeError for the whole report there."""
    ds = report(VARIANTS[variant]().wanting(variants=(Variant(segmentation=segmentation),)))
    assert ds.ConceptNameCodeSequence[0].CodeValue == "126000"
    (library,) = (item for item in ds.ContentSequence if name_of(item) == "111028")
    assert name_of(library.ContentSequence[0]) == "126200"
    assert library.ContentSequence[0].ContentSequence[0].ValueType == "IMAGE"
    assert [name_of(item) for item in ds.ContentSequence].count("126010") == 1
    tracking = [[str(c.get("UID", "")) for c in g.ContentSequence if name_of(c) == "112040"] for g in groups(ds)]
    assert all(len(uids) == 1 for uids in tracking)
    assert len({uids[0] for uids in tracking}) == len(tracking) > 0
    assert all(any(name_of(c) == "112039" for c in group.ContentSequence) for group in groups(ds))
    assert all(item.get("ContentSequence") for item in items(ds) if item.ValueType == "NUM" and _measures(item))


def _measures(item: Dataset) -> bool:
    return bool(item.RelationshipType == "CONTAINS")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_container_is_separate_so_that_renderers_print_names(variant: str) -> None:
    ds = report(VARIANTS[variant]())
    containers = [ds, *(item for item in items(ds) if item.ValueType == "CONTAINER")]
    assert {item.ContinuityOfContent for item in containers} == {"SEPARATE"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_qualitative_evaluations_hold_codes_and_texts_only(variant: str) -> None:
    container = report(VARIANTS[variant]()).ContentSequence[-1]
    assert name_of(container) == "C0034375"
    assert {item.ValueType for item in container.ContentSequence} <= {"CODE", "TEXT"}


def test_highdicom_reads_the_scores_back() -> None:
    read = hd.sr.srread(io.BytesIO(to_bytes(scored().build()["report"])))
    (lesion,) = read.content.get_volumetric_roi_measurement_groups()
    assert {m.name.value: m.value for m in lesion.get_measurements()}["EGFRDLS"] == pytest.approx(0.7098)
    slices, patient = read.content.get_image_measurement_groups()
    assert [m.value for m in slices.get_measurements()] == pytest.approx([0.6512, 0.7304, 0.7478])
    assert patient.tracking_identifier == "Patient"


def test_the_intended_use_is_research_or_demonstration() -> None:
    assert coded(report(scored()), "INTENDED-USE") == ["RUO"]
    assert coded(report(demonstration(scored())), "INTENDED-USE") == ["DEMO"]
    assert coded(report(demonstration(refused())), "INTENDED-USE") == ["DEMO"]


def test_a_lesion_without_pixels_is_reported_without_segment() -> None:
    case = replace(scored(), evidence=EvidenceImages((), pet_is_suv=False))
    objects = case.build()
    assert "roi" not in objects
    assert numbers(objects["report"].dataset, "EGFRDLS") == ["0.7098", "0.7098"]


def test_the_report_reads_back_as_part_10() -> None:
    ds = dcmread(io.BytesIO(to_bytes(scored().build()["report"])))
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_roi_sources_have_their_codes() -> None:
    assert coded(report(rtstruct_case("MANUAL")), "ROI-SOURCE") == ["ROI-STORED-RT"]
    assert coded(report(scored()), "ROI-SOURCE") == ["ROI-PROPOSED"]
    assert scored_findings().lesions[0].roi_source is RoiSource.PROPOSED
