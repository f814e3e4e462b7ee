"""One study through one biomarker: series, volumes, regions, networks, findings.

A study that cannot be scored is a result too: its findings are refused, with the reason and the fate of every series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from egfr_dls import PRODUCT_VERSION
from egfr_dls.errors import StudyRefusedError
from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import ContextFinding, FindingStatus, ModelUse, PatientFinding, SeriesFinding, StudyFindings
from egfr_dls.refusals import RefusalCode, Remark, WarningCode
from egfr_dls.settings import Settings
from egfr_dls.study import Confirmation
from egfr_dls.volume import Volume
from inference.biomarkers.clinical_context import UNKNOWN, ClinicalContext, Histology
from inference.biomarkers.contract import Biomarker, Conclusion, StudyInputs
from inference.biomarkers.pet_ct_egfr.grid import pet_onto_ct
from inference.engine.gate import Scorer
from inference.imaging.registration import estimated, register
from inference.imaging.registration_search import share_frame
from inference.imaging.suv import SuvAssessment, assess_suv
from inference.inputs import inputs_sha256, preprocessing_sha256, refused_inputs_sha256
from inference.read.ct import read_ct
from inference.read.header import text
from inference.read.pet import pet_slices, read_pet
from inference.read.rwv import rwv_claims
from inference.read.series import SeriesImages, group_series, series_facts
from inference.roi.chest import labels_outside_chest
from inference.roi.region import RoiResult, find_rois
from inference.select import ROI_CLASSES, Selection, judge_series, select_pet_ct
from inference.timing import Progress, Steps, silent


@dataclass(frozen=True, eq=False)
class Analysis:
    """What one run gave: the findings, and the pictures behind them."""

    findings: StudyFindings
    evidence: EvidenceImages


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same through one run."""

    biomarker: Biomarker
    scorers: Mapping[str, Scorer]
    settings: Settings
    context: ClinicalContext
    confirmations: Sequence[Confirmation]
    steps: Steps

    def use(self, task: str) -> ModelUse | None:
        """Return the network of a task as findings name it."""
        scorer = self.scorers.get(task)
        if scorer is None:
            return None
        return replace(scorer.use, preprocessing_sha256=preprocessing_sha256(scorer.preprocessing, self.settings))


@dataclass(frozen=True, eq=False)
class _Images:
    """The selected series as volumes, in the CT's frame of reference. ``pet`` is on its own grid, ``pet_on_ct`` on the CT's."""

    pet: Volume
    ct: Volume
    pet_on_ct: Volume
    suv: SuvAssessment
    reference: Dataset
    warnings: tuple[Remark, ...] = ()


def analyse_study(
    datasets: Sequence[Dataset],
    biomarker: Biomarker,
    scorers: Mapping[str, Scorer],
    settings: Settings,
    *,
    context: ClinicalContext = UNKNOWN,
    refuse_first: StudyRefusedError | None = None,
    refuse_as: StudyRefusedError | None = None,
    progress: Progress = silent,
    confirmations: Sequence[Confirmation] = (),
) -> Analysis:
    """Score one study, or say why not.

    Parameters
    ----------
    datasets
        every instance of one study, of whatever kind
    context
        what the site knows of the patient from outside the images
    refuse_first
        a refusal that holds whatever its series are
    refuse_as
        a refusal that holds unless its series are refused themselves (it was not received whole, or not readably)
    confirmations
        which of the study's proposed regions a person accepted
    """
    run = _Run(biomarker, scorers, settings, context, confirmations, Steps(progress))
    series = group_series(datasets)
    judged: tuple[SeriesFinding, ...] = ()
    try:
        with run.steps.step("series"):
            facts = [series_facts(s) for s in series]
            judged = judge_series(facts)
            if refuse_first is not None:
                raise refuse_first
            selection = select_pet_ct(facts)
        if refuse_as is not None:
            raise refuse_as
        images = _read(series, selection, run)
        with run.steps.step("regions"):
            found = _regions(images, _stored_rois(series), run)
        with run.steps.step("networks"):
            conclusion = _conclude(images, found, run)
    except StudyRefusedError as refusal:
        return _refused(series, judged, refusal, run)
    return _scored(images, found, conclusion, selection.findings, run)


def _read(series: Sequence[SeriesImages], selection: Selection, run: _Run) -> _Images:
    steps = run.steps
    by_uid = {s.series_instance_uid: s for s in series}
    pet_series, ct_series = by_uid[selection.pet.series_instance_uid], by_uid[selection.ct.series_instance_uid]
    _same_patient(pet_series, ct_series)
    with steps.step("suv"):
        claims = rwv_claims((ds for s in series for ds in s.datasets), pet_series.datasets[0])
        suv = assess_suv(pet_slices(pet_series), rwv=claims)
    with steps.step("pixels"):
        pet, ct = read_pet(pet_series, suv.scale), read_ct(ct_series)
    pet, warnings = _in_one_frame(pet, ct, run)
    with steps.step("one grid"):
        pet_on_ct = pet_onto_ct(pet, ct)
    return _Images(pet, ct, pet_on_ct, suv, pet_series.datasets[0], warnings)


def _in_one_frame(pet: Volume, ct: Volume, run: _Run) -> tuple[Volume, tuple[Remark, ...]]:
    """Return the PET where it lies on the CT: as the headers have it, else or on request by an estimate, which is said."""
    if share_frame(pet, ct) and run.settings.inference.registration == "when_needed":
        return pet, ()
    with run.steps.step("registration"):
        registration = register(pet, ct)
    return registration.moved(pet), (estimated(registration, pet, ct),)


def _same_patient(pet: SeriesImages, ct: SeriesImages) -> None:
    """Refuse a pair of which any instance names another patient; the values themselves are in no message."""
    whose = text(pet.datasets[0], "PatientID")
    for series in (pet, ct):
        other = next((ds for ds in series.datasets if text(ds, "PatientID") != whose), None)
        if other is not None:
            raise StudyRefusedError(
                RefusalCode.SERIES_AMBIGUOUS,
                f"PatientID (0010,0020) of instance {text(other, 'SOPInstanceUID')} of {series.modality} series "
                f"{series.series_instance_uid} is not that of PET series {pet.series_instance_uid}. "
                "Needed: PET and CT of one patient; correct the study in PACS and send it again.",
            )


def _stored_rois(series: Sequence[SeriesImages]) -> list[Dataset]:
    """Return every SEG and RTSTRUCT: a tumour that was drawn on images that are not here is said too."""
    return [ds for s in series for ds in s.datasets if text(ds, "SOPClassUID") in ROI_CLASSES]


def _regions(images: _Images, stored: Sequence[Dataset], run: _Run) -> RoiResult:
    """Return the lesions; a stored region that names another patient than the images is not used, and said."""
    whose = ("", text(images.reference, "PatientID"))
    others = [ds for ds in stored if text(ds, "PatientID") not in whose]
    said = tuple(Remark(WarningCode.ROI_OTHER_PATIENT.value, _other_patient(ds)) for ds in others)
    try:
        found = find_rois(
            images.pet,
            images.ct,
            [ds for ds in stored if text(ds, "PatientID") in whose],
            run.settings.biomarkers.pet_ct_egfr,
            str(images.reference.StudyInstanceUID),
            scale_failure=images.suv.failure,
            confirmations=run.confirmations,
        )
    except StudyRefusedError as refusal:
        if not said:
            raise
        besides = "; ".join(remark.message for remark in said)
        raise StudyRefusedError(refusal.code, f"{refusal.message}. Besides: {besides}") from refusal
    return replace(found, warnings=(*found.warnings, *said))


def _other_patient(ds: Dataset) -> str:
    return (
        f"{text(ds, 'Modality')} {text(ds, 'SOPInstanceUID')} is not used: its PatientID (0010,0020) is not that of the "
        "PET and CT. Needed: a region of this patient"
    )


def _conclude(images: _Images, found: RoiResult, run: _Run) -> Conclusion:
    inputs = StudyInputs(
        volumes={"ct": images.ct, "pet": images.pet_on_ct},
        rois=found.rois,
        stored_roi_is=run.settings.biomarkers.pet_ct_egfr.stored_roi_is,
        tracer_stated=not any(w.code == WarningCode.TRACER_NOT_STATED for w in images.suv.warnings),
        outside_chest=labels_outside_chest(found.rois, images.ct),
        context=run.context,
    )
    return run.biomarker.analyse(inputs, run.scorers)


def _scored(
    images: _Images, found: RoiResult, conclusion: Conclusion, series: tuple[SeriesFinding, ...], run: _Run
) -> Analysis:
    warnings = tuple(dict.fromkeys((*images.warnings, *images.suv.warnings, *found.warnings, *conclusion.warnings)))
    read = (images.pet, images.ct)
    findings = StudyFindings(
        product_version=PRODUCT_VERSION,
        study_instance_uid=str(images.reference.StudyInstanceUID),
        biomarker=run.biomarker.name,
        status=FindingStatus.SCORED,
        partial=conclusion.partial,
        refusal=None,
        model=run.use("egfr"),
        companion_model=run.use("pdl1"),
        series=series,
        lesions=conclusion.lesions,
        patient=conclusion.patient,
        warnings=warnings,
        inputs_sha256=inputs_sha256(read, found.rois, images.reference, run.context, warnings),
        configuration_sha256=run.settings.configuration_sha256,
        images_read=conclusion.images_read,
        clinical_context=_context_finding(run.context),
        reference_sop_instance_uid=str(images.reference.SOPInstanceUID),
        timings_seconds=run.steps.seconds,
    )
    return Analysis(findings, conclusion.evidence)


def _context_finding(context: ClinicalContext) -> ContextFinding:
    return ContextFinding(
        histology=None if context.histology is Histology.UNKNOWN else context.histology.value,
        treatment_began=context.treatment_began,
        tissue_egfr_mutant=context.tissue_egfr_mutant,
        tissue_pdl1_tps_percent=context.tissue_pdl1_tps_percent,
    )


def _refused(
    series: Sequence[SeriesImages], judged: tuple[SeriesFinding, ...], refusal: StudyRefusedError, run: _Run
) -> Analysis:
    shown = _middle_images(series)
    if not shown:  # not one image that a report could be of
        raise refusal
    reference = next((ds for ds in shown if ds.get("Modality") == "PT"), shown[0])
    received = (str(ds.SOPInstanceUID) for s in series for ds in s.datasets)
    findings = StudyFindings(
        product_version=PRODUCT_VERSION,
        study_instance_uid=str(reference.StudyInstanceUID),
        biomarker=run.biomarker.name,
        status=FindingStatus.REFUSED,
        partial=False,
        refusal=refusal.remark,
        model=run.use("egfr"),
        companion_model=run.use("pdl1"),
        series=judged,
        lesions=(),
        patient=PatientFinding(),
        warnings=(),
        inputs_sha256=refused_inputs_sha256(received, str(refusal), reference),
        configuration_sha256=run.settings.configuration_sha256,
        images_read=tuple(str(ds.SOPInstanceUID) for ds in shown),
        clinical_context=_context_finding(run.context),
        reference_sop_instance_uid=str(reference.SOPInstanceUID),
        timings_seconds=run.steps.seconds,
    )
    return Analysis(findings, EvidenceImages((), pet_is_suv=False))


def _middle_images(series: Sequence[SeriesImages]) -> list[Dataset]:
    """Return one image of each image series (a refusal report shows what was considered), or whatever there is."""
    images = [s.datasets[len(s.datasets) // 2] for s in series if s.modality in ("PT", "CT")]
    return images or [s.datasets[0] for s in series]
