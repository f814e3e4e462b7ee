"""Findings, evidence and headers of a small synthetic PET/CT, made by hand: no inference runs in these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from pydicom import Dataset

from egfr_dls.evidence import EvidenceImages, LesionEvidence
from egfr_dls.findings import (
    LesionFinding,
    ModelUse,
    PatientFinding,
    SeriesFinding,
    SliceFinding,
    StudyFindings,
)
from egfr_dls.refusals import Remark
from egfr_dls.study import Pathway, RoiSource
from egfr_dls.uids import derived_uid
from reporting.build import ReportObject, build_pictures, build_reports
from reporting.context import ReportContext, ReportOptions, Revision
from reporting.source_header import SourceImages
from tests.builders import CT_SERIES_UID, PET_SERIES_UID, STUDY_UID, ct_slices, pet_slices, rtstruct

NOW = datetime(2025, 1, 2, 12, 30, 15)  # noqa: DTZ001  # DICOM times are local
SCORED_SLICES = (3, 4, 5)
MASK_SLICES = (2, 3, 4, 5, 6)
MODEL = ModelUse("egfr-test", "1.2.0", "ab" * 32, "research", 0.5, "onnxruntime-cpu")
COMPANION = ModelUse("pdl1-test", "1.0.0", "cd" * 32, "research", 0.5, "onnxruntime-cpu")
NO_PAGES = ReportOptions(pages=False)


@dataclass(frozen=True)
class Case:
    """What a report is built of; ``but`` replaces findings."""

    findings: StudyFindings
    evidence: EvidenceImages
    sources: SourceImages
    revision: Revision = field(default_factory=Revision)
    options: ReportOptions = NO_PAGES

    def but(self, **changes: Any) -> Case:
        return replace(self, findings=replace(self.findings, **changes))

    def with_pages(self) -> Case:
        return self.wanting(pages=True)

    def wanting(self, **options: Any) -> Case:
        """Return the same study for other options."""
        return replace(self, options=replace(self.options, **options))

    @property
    def context(self) -> ReportContext:
        return ReportContext(self.findings, self.evidence, self.sources, NOW, self.revision, self.options)

    def build(self) -> dict[str, ReportObject]:
        """Return the objects by kind; of a kind with several, the last."""
        return {made.kind: made for made in self.build_all()}

    def build_all(self) -> list[ReportObject]:
        """Return the objects in their order."""
        context = self.context
        reports = build_reports(context)
        return [*reports, *build_pictures(context, reports)]


def headers(instances: list[Dataset]) -> dict[str, Dataset]:
    """Return header-only copies by SOP Instance UID."""
    for ds in instances:
        ds.pop("PixelData", None)
    return {ds.SOPInstanceUID: ds for ds in instances}


def source_images(**overrides: Any) -> SourceImages:
    """Return the synthetic study's headers; overrides go into every instance."""
    ct, pet = ct_slices(**overrides), pet_slices(**overrides)
    return SourceImages(headers([*ct, *pet]), pet[0])


def lesion_finding(label: str = "Lesion 1", source: RoiSource = RoiSource.PROPOSED, **changes: Any) -> LesionFinding:
    """Return a scored lesion on CT slices 4 to 6."""
    scores = (0.6512, 0.7304, 0.7478)
    facts: dict[str, Any] = {
        "label": label,
        "roi_source": source,
        "confirmed": source is not RoiSource.PROPOSED,
        "tracking_uid": derived_uid("test", label),
        "volume_ml": 4.19,
        "suv_max": 10.004,
        "suv_mean": 8.3,
        "mtv_ml": 4.02,
        "tlg_g": 33.4,
        "egfr_dls": 0.70980,
        "pdl1_dls": 0.3121,
        "slice_sd": 0.0513,
        "slices": tuple(
            SliceFinding(
                4.0 * z, score, 0.3 + z / 100, f"{CT_SERIES_UID}.{z + 1}", f"{PET_SERIES_UID}.{z + 1}", 48.0, 14.0
            )
            for z, score in zip(SCORED_SLICES, scores, strict=True)
        ),
        "reason": None,
        "roi_description": "SUV at or above 41 % of the maximum",
    }
    return LesionFinding(**{**facts, **changes})


def scored_findings(**changes: Any) -> StudyFindings:
    """Return a scored study with one proposed lesion."""
    read = [f"{series}.{z + 1}" for series in (CT_SERIES_UID, PET_SERIES_UID) for z in SCORED_SLICES]
    facts: dict[str, Any] = {
        "product_version": "0.1.0",
        "study_instance_uid": STUDY_UID,
        "biomarker": "pet_ct_egfr",
        "status": "scored",
        "partial": False,
        "refusal": None,
        "model": MODEL,
        "companion_model": COMPANION,
        "series": (
            SeriesFinding(CT_SERIES_UID, "CT", "ct", None),
            SeriesFinding(PET_SERIES_UID, "PT", "PET", None),
            SeriesFinding("1.2.3", "PT", None, Remark("PET_NOT_ATTENUATION_CORRECTED", "CorrectedImage lacks ATTN")),
        ),
        "lesions": (lesion_finding(),),
        "patient": PatientFinding(
            egfr_dls=0.70980,
            pdl1_dls=0.3121,
            slice_sd=0.0513,
            n_slices=3,
            pathway=Pathway.TKI,
            rationale="EGFR-DLS high, PDL1_DLS low: PFS longer with TKI than with ICI, p = 0.013 (Mu et al. 2020).",
            caveats=("Retrospective, heterogeneous cohorts.", "Valid for adenocarcinoma only."),
        ),
        "warnings": (Remark("HISTOLOGY_UNKNOWN", "Histology is not known to this software."),),
        "inputs_sha256": "12" * 32,
        "configuration_sha256": "34" * 32,
        "images_read": tuple(read),
        "reference_sop_instance_uid": f"{PET_SERIES_UID}.1",
    }
    return StudyFindings(**{**facts, **changes})


def lesion_evidence(label: str = "Lesion 1", *, maps: bool = True) -> LesionEvidence:
    """Return a round lesion in a lung-like crop of 96 x 96 pixels of 1 mm, and its mask on the full grid."""
    mask = np.zeros((len(MASK_SLICES), 32, 32), dtype=bool)
    mask[:, 14:18, 8:12] = True
    n, side = len(SCORED_SLICES), 96
    y, x = np.mgrid[:side, :side] - side / 2
    radius = np.hypot(y, x)
    roi = np.repeat((radius <= 12)[None], n, axis=0)
    hu = np.where(radius <= 12, 40, -820 + 60 * np.sin(x / 3) * np.cos(y / 4)).astype(np.int16)
    pet = (8 * np.exp(-((radius / 12) ** 2))).astype(np.float32)
    cam = (np.exp(-(((x - 5) ** 2 + y**2) / 200)) * (radius <= 30)).astype(np.float32)
    return LesionEvidence(
        label=label,
        mask=mask,
        mask_sop_instance_uids=tuple(f"{CT_SERIES_UID}.{z + 1}" for z in MASK_SLICES),
        ct_hu=np.repeat(hu[None], n, axis=0),
        pet=np.stack([pet * f for f in (0.8, 1.0, 0.9)]).astype(np.float32),
        roi=roi,
        box=np.array([[20, 20, 76, 76]] * n, dtype=np.int32),
        cam_positive=np.stack([cam, cam * 0.7, cam * 0.9]).astype(np.float32) if maps else None,
        cam_negative=np.stack([cam * 0.1] * n).astype(np.float32) if maps else None,
        pixel_mm=(1.0, 1.0),
        origin_pixel=(-30, -34),
    )


def scored(**changes: Any) -> Case:
    """Return the scored study; changes go into its findings."""
    return Case(scored_findings(**changes), EvidenceImages((lesion_evidence(),), pet_is_suv=True), source_images())


NO_WEIGHT = Remark("SUV_NO_WEIGHT", "PatientWeight (0010,1030) is missing. Needed: 20 to 300 kg.")


def refused(reason: Remark = NO_WEIGHT, **overrides: Any) -> Case:
    """Return a study refused for this reason; overrides go into every source header."""
    findings = scored_findings(
        status="refused", refusal=reason, lesions=(), patient=PatientFinding(), images_read=(), companion_model=None
    )
    return Case(findings, EvidenceImages((), pet_is_suv=False), source_images(**overrides))


def demonstration(case: Case) -> Case:
    """Return the same study, scored by a demonstration network."""
    return case.but(model=replace(MODEL, status="demonstration"))


def stored_seg() -> Case:
    """Return a study whose region is segment 2 of a SEG that came in."""
    seg = scored().build()["roi"].dataset
    seg.SOPInstanceUID, seg.SeriesInstanceUID = f"{STUDY_UID}.77.1", f"{STUDY_UID}.77"
    sources = source_images()
    lesion = lesion_finding(
        source=RoiSource.STORED_SEG,
        roi_sop_instance_uid=seg.SOPInstanceUID,
        roi_sop_class_uid=seg.SOPClassUID,
        roi_number=2,
    )
    evidence = EvidenceImages((lesion_evidence(),), pet_is_suv=True)
    with_roi = SourceImages({**sources.images, seg.SOPInstanceUID: seg}, sources.reference)
    return Case(scored_findings(lesions=(lesion,)), evidence, with_roi)


def two_lesions() -> Case:
    """Return a study in part scored: lesion 1 has a score, lesion 2 only a reason."""
    second = lesion_finding(
        "Lesion 2", egfr_dls=None, pdl1_dls=None, slice_sd=None, slices=(),
        reason=Remark("FOV_TRUNCATED", "The tumour reaches the edge of the CT field of view."),
    )  # fmt: skip
    evidence = EvidenceImages((lesion_evidence(), lesion_evidence("Lesion 2")), pet_is_suv=True)
    return Case(scored_findings(lesions=(lesion_finding(), second), partial=True), evidence, source_images())


def rtstruct_case(algorithm: str) -> Case:
    """Return a study whose region came from an RTSTRUCT with this ROI Generation Algorithm (3006,0036)."""
    structure_set = rtstruct(ct_slices(), {"GTV": [[0.0, 0.0, 16.0, 8.0, 0.0, 16.0, 8.0, 8.0, 16.0]]})
    structure_set.StructureSetROISequence[0].ROIGenerationAlgorithm = algorithm
    sources = source_images()
    lesion = lesion_finding(
        source=RoiSource.STORED_RTSTRUCT,
        roi_sop_instance_uid=structure_set.SOPInstanceUID,
        roi_sop_class_uid=structure_set.SOPClassUID,
        roi_number=1,
    )
    with_roi = SourceImages({**sources.images, structure_set.SOPInstanceUID: structure_set}, sources.reference)
    evidence = EvidenceImages((lesion_evidence(),), pet_is_suv=True)
    return Case(scored_findings(lesions=(lesion,)), evidence, with_roi)


VARIANTS: dict[str, Callable[[], Case]] = {
    "scored": scored,
    "demonstration": lambda: demonstration(scored()),
    "refused": refused,
    "demonstration refused": lambda: demonstration(refused()),
    "stored SEG": stored_seg,
    "manual RTSTRUCT": lambda: rtstruct_case("MANUAL"),
    "automatic RTSTRUCT": lambda: rtstruct_case("AUTOMATIC"),
    "in part": two_lesions,
}


def items(ds: Dataset) -> Iterator[Dataset]:
    """Yield every content item of a report, depth first."""
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from items(item)


def name_of(item: Dataset) -> str:
    """Return the code value of an item's concept name."""
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def coded(ds: Dataset, name: str) -> list[str]:
    """Return the code values of all CODE items of this name, in order."""
    found = (item for item in items(ds) if item.ValueType == "CODE" and name_of(item) == name)
    return [str(item.ConceptCodeSequence[0].CodeValue) for item in found]


def texts(ds: Dataset, name: str) -> list[str]:
    """Return the texts of all TEXT items of this name, in order."""
    return [str(item.TextValue) for item in items(ds) if item.ValueType == "TEXT" and name_of(item) == name]


def numbers(ds: Dataset, name: str) -> list[str]:
    """Return the Numeric Value strings of all NUM items of this name, in order."""
    found = (item for item in items(ds) if item.ValueType == "NUM" and name_of(item) == name)
    return [str(item.MeasuredValueSequence[0].NumericValue) for item in found]


def groups(ds: Dataset) -> list[Dataset]:
    """Return the measurement groups."""
    return [item for item in items(ds) if name_of(item) == "125007"]
