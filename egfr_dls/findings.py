"""StudyFindings: everything that is concluded of one study, as the JSON that crosses processes.

``result_document`` is the operator's ``result.json`` (schema ``egfr-dls-result/1``); ``StudyFindings.to_json``
is what the ledger keeps: the same facts and the digests that reports need.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from egfr_dls.refusals import Remark
from egfr_dls.study import Pathway, RoiSource

RESULT_SCHEMA = "egfr-dls-result/1"

# said in ``PatientFinding`` and by every form of the report
RESEARCH_USE = "Research use only, not for diagnosis."
UNVERIFIED_ROI = "Unverified ROI: "  # before what is concluded from a region that nobody confirmed


class FindingStatus(StrEnum):
    """How an analysis ended."""

    SCORED = "scored"
    REFUSED = "refused"


@dataclass(frozen=True)
class ModelUse:
    """The network that gave a score."""

    name: str
    version: str
    sha256: str  # of model.onnx
    status: str  # demonstration | research | site-validated
    cut_off: float
    runtime: str  # e.g. "onnxruntime-cpu"
    preprocessing_sha256: str = ""  # of how its input is made and its slices become a score; empty: not known


@dataclass(frozen=True)
class SeriesFinding:
    """A series and its role, or the reason why it has none."""

    series_instance_uid: str
    modality: str
    role: str | None
    reason: Remark | None


@dataclass(frozen=True)
class SliceFinding:
    """The scores of one axial CT slice.

    ``position_mm`` is along the slice normal (LPS); ``side_mm`` and ``margin_mm`` describe the square the network saw.
    """

    position_mm: float
    egfr_dls: float
    pdl1_dls: float | None
    ct_sop_instance_uid: str
    pet_sop_instance_uid: str
    side_mm: float
    margin_mm: float


@dataclass(frozen=True)
class LesionFinding:
    """One lesion. SUV figures are over the native PET grid and null where SUV is not known."""

    label: str
    roi_source: RoiSource
    confirmed: bool
    tracking_uid: str
    volume_ml: float
    suv_max: float | None
    suv_mean: float | None
    mtv_ml: float | None
    tlg_g: float | None
    egfr_dls: float | None
    pdl1_dls: float | None
    slice_sd: float | None
    slices: tuple[SliceFinding, ...]
    reason: Remark | None  # why it is not scored
    slices_refused: int = 0  # by the field-of-view check
    roi_sop_instance_uid: str | None = None  # the stored SEG or RTSTRUCT
    roi_sop_class_uid: str | None = None
    roi_number: int | None = None  # Segment Number (0062,0004) or ROI Number (3006,0022)
    roi_description: str = ""  # what was taken and why, or how it was proposed
    roi_drawn_by: str = ""  # a person of staff, else the software that made it; for reports, never for logs
    roi_drawn_at: str | None = None  # ISO 8601 without zone, as the stored object's header has it
    roi_instead_of: tuple[str, ...] = ()  # older stored regions of the same lesion, which are not used
    roi_confirmed_by: str = ""  # who accepted a proposed region (`studies confirm`); for reports, never for logs
    roi_confirmed_at: str | None = None  # ISO 8601, UTC
    distance_to_cut_off: float | None = None  # score minus cut-off, unrounded: not negative where it counts as high
    pixel_mm: tuple[float, float] | None = None  # row and column spacing of the CT, on whose pixels the squares lie


@dataclass(frozen=True)
class ContextFinding:
    """What the site stated from outside the images; None is unknown. ``treatment_began``: before the scan."""

    histology: str | None = None  # adenocarcinoma | other
    treatment_began: bool | None = None
    tissue_egfr_mutant: bool | None = None
    tissue_pdl1_tps_percent: float | None = None


@dataclass(frozen=True)
class PatientFinding:
    """The patient-level score and what it suggests; null and NO_SUGGESTION where nothing is scored."""

    egfr_dls: float | None = None
    pdl1_dls: float | None = None
    slice_sd: float | None = None
    n_slices: int = 0
    pathway: Pathway | None = Pathway.NO_SUGGESTION
    rationale: str = ""
    caveats: tuple[str, ...] = ()
    distance_to_cut_off: float | None = None  # as of the lesion whose score it is


OWN_LEDGER = "ledger"  # the source of a prior that this node found itself


@dataclass(frozen=True)
class PriorFinding:
    """An earlier result of the patient; ``study_date`` in ISO 8601, ``source``: ledger, or where its report came from."""

    study_date: str
    egfr_dls: float
    pdl1_dls: float | None
    source: str
    demonstration: bool
    model: str  # name and version
    model_sha256: str
    cut_off: float
    preprocessing_sha256: str = ""


@dataclass(frozen=True)
class StudyFindings:
    """What one run of one biomarker found in one study.

    ``inputs_sha256`` and ``configuration_sha256`` are part of the key of every UID.
    ``images_read`` are the SOP Instance UIDs of the slices that the networks read (the report's evidence).
    """

    product_version: str
    study_instance_uid: str
    biomarker: str | None
    status: FindingStatus
    partial: bool
    refusal: Remark | None
    model: ModelUse | None
    companion_model: ModelUse | None
    series: tuple[SeriesFinding, ...]
    lesions: tuple[LesionFinding, ...]
    patient: PatientFinding
    warnings: tuple[Remark, ...]
    inputs_sha256: str
    configuration_sha256: str
    images_read: tuple[str, ...] = ()
    reference_sop_instance_uid: str | None = None  # whose patient and study modules the objects copy
    timings_seconds: dict[str, float] = field(default_factory=dict)
    priors: tuple[PriorFinding, ...] = ()  # by study date
    clinical_context: ContextFinding = ContextFinding()

    @property
    def demonstration(self) -> bool:
        """Whether any network used is a demonstration network."""
        return any(m is not None and m.status == "demonstration" for m in (self.model, self.companion_model))

    def differs(self, prior: PriorFinding) -> tuple[str, ...]:
        """Return in what an earlier result was made otherwise than this one; where in anything, they are not comparable."""
        if self.model is None:
            return ("network",)
        model, (name, _, version) = self.model, prior.model.rpartition(" ")
        same = {
            "network": name == model.name,
            "version": version == model.version,
            "weights": prior.model_sha256 == model.sha256,
            "preprocessing": prior.preprocessing_sha256 == model.preprocessing_sha256 != "",
            "cut-off": f"{prior.cut_off:g}" == f"{model.cut_off:g}",  # as reports state it
        }
        return tuple(what for what, is_same in same.items() if not is_same)

    def to_json(self) -> str:
        """Serialise for the ledger."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> StudyFindings:
        """Read back what ``to_json`` wrote."""
        return _findings(json.loads(text))


@dataclass(frozen=True)
class ObjectEntry:
    """A built object as ``result.json`` lists it."""

    kind: str  # report | roi | pages | map | pdf
    path: str
    sop_class_uid: str
    sop_instance_uid: str


SLICE_KEYS = ("position_mm", "egfr_dls", "pdl1_dls", "side_mm", "margin_mm")
LESION_KEYS = (
    "label", "roi_source", "confirmed", "tracking_uid", "volume_ml", "suv_max", "suv_mean", "mtv_ml", "tlg_g",
    "egfr_dls", "pdl1_dls", "slice_sd", "distance_to_cut_off", "pixel_mm", "slices_refused", "reason",
    "roi_sop_instance_uid", "roi_number", "roi_description", "roi_drawn_by", "roi_drawn_at", "roi_instead_of",
    "roi_confirmed_by", "roi_confirmed_at",
)  # fmt: skip
PRIOR_KEYS = ("study_date", "egfr_dls", "pdl1_dls", "source", "demonstration", "model")
MODEL_KEYS = ("name", "version", "sha256", "status")


def result_document(findings: StudyFindings, analysed_at: str, objects: tuple[ObjectEntry, ...]) -> dict[str, Any]:
    """Return ``result.json`` (schema ``egfr-dls-result/1``) as a dictionary."""
    facts = asdict(findings)
    return {
        "schema": RESULT_SCHEMA,
        "product_version": findings.product_version,
        "analysed_at": analysed_at,
        "study_instance_uid": findings.study_instance_uid,
        "biomarker": findings.biomarker,
        "status": findings.status,
        "partial": findings.partial,
        "refusal": facts["refusal"],
        "model": _only(facts["model"], MODEL_KEYS),
        "companion_model": _only(facts["companion_model"], MODEL_KEYS),
        "series": list(facts["series"]),
        "lesions": [
            {k: list(v) if isinstance(v := lesion[k], tuple) else v for k in LESION_KEYS}
            | {"slices": [{k: s[k] for k in SLICE_KEYS} for s in lesion["slices"]]}
            for lesion in facts["lesions"]
        ],
        "patient": facts["patient"] | {"caveats": list(findings.patient.caveats)},
        "clinical_context": facts["clinical_context"],
        "warnings": list(facts["warnings"]),
        "priors": [
            {k: keys[k] for k in PRIOR_KEYS} | {"comparable": not findings.differs(prior)}
            for prior, keys in zip(findings.priors, facts["priors"], strict=True)
        ],
        "objects": [asdict(o) for o in objects],
        "timings_seconds": findings.timings_seconds,
    }


def _only(facts: dict[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    return None if facts is None else {k: facts[k] for k in keys}


def _findings(d: dict[str, Any]) -> StudyFindings:
    return StudyFindings(
        **{
            **d,
            "status": FindingStatus(d["status"]),
            "refusal": _remark(d["refusal"]),
            "model": None if d["model"] is None else ModelUse(**d["model"]),
            "companion_model": None if d["companion_model"] is None else ModelUse(**d["companion_model"]),
            "series": tuple(SeriesFinding(**{**s, "reason": _remark(s["reason"])}) for s in d["series"]),
            "lesions": tuple(_lesion(x) for x in d["lesions"]),
            "patient": _patient(d["patient"]),
            "warnings": tuple(Remark(**w) for w in d["warnings"]),
            "images_read": tuple(d["images_read"]),
            "priors": tuple(PriorFinding(**p) for p in d.get("priors", ())),
            "clinical_context": ContextFinding(**d.get("clinical_context", {})),
        }
    )


def _remark(d: dict[str, str] | None) -> Remark | None:
    return None if d is None else Remark(**d)


def _lesion(d: dict[str, Any]) -> LesionFinding:
    return LesionFinding(
        **{
            **d,
            "roi_source": RoiSource(d["roi_source"]),
            "slices": tuple(SliceFinding(**s) for s in d["slices"]),
            "reason": _remark(d["reason"]),
            "roi_instead_of": tuple(d.get("roi_instead_of", ())),
            "pixel_mm": None if (spacing := d.get("pixel_mm")) is None else tuple(spacing),
        }
    )


def _patient(d: dict[str, Any]) -> PatientFinding:
    pathway = None if d["pathway"] is None else Pathway(d["pathway"])
    return PatientFinding(**{**d, "pathway": pathway, "caveats": tuple(d["caveats"])})
