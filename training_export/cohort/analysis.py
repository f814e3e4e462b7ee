"""One study through the service's own analysis, up to the network's input: what is exported is what is served.

Of ``training_export`` this module alone calls the analysis of the inference stage (pyproject.toml, import contracts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import PatientFinding, StudyFindings
from egfr_dls.settings import Settings
from egfr_dls.study import RoiSource
from egfr_dls.volume import Geometry, Volume
from inference.biomarkers.contract import Conclusion, StudyInputs
from inference.biomarkers.pet_ct_egfr.biomarker import PET_CT_EGFR
from inference.biomarkers.pet_ct_egfr.hyperimage import HyperImages, prepare
from inference.biomarkers.pet_ct_egfr.squares import areas_mm2
from inference.engine.gate import Scorer
from inference.models.manifest import Preprocessing
from inference.roi.region import Roi
from inference.study_analysis import analyse_study
from training_export.cohort.studies import StudyContent

Scores = Mapping[int, NDArray[np.float32]]  # CT slice -> probabilities of the two classes


@dataclass(frozen=True, eq=False)
class ExportedLesion:
    """One lesion: its region, its hyper-images, and the scores of the installed networks, by task and CT slice.

    ``area_mm2`` has one entry an image.
    """

    number: int  # 1 is the primary
    roi: Roi
    hyper: HyperImages
    area_mm2: NDArray[np.float64]
    scores: Mapping[str, Scores]


@dataclass(frozen=True, eq=False)
class ExportedStudy:
    """What the service makes of a study before it concludes anything; ``code`` where it refuses it."""

    code: str | None
    lesions: tuple[ExportedLesion, ...] = ()
    grid: Geometry | None = None
    warnings: tuple[str, ...] = ()
    used: tuple[Dataset, ...] = field(default=(), repr=False)  # instances of the series that have a role
    reference: Dataset | None = field(default=None, repr=False)  # a PET image, whose header knows the patient

    @property
    def scored_lesion(self) -> int | None:
        """Number of the lesion whose score is the patient's: the first that has images."""
        return next((lesion.number for lesion in self.lesions if len(lesion.hyper.images)), None)


class _Recorder:
    """Stands in the place of the biomarker's function: keeps what would be scored, and concludes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._stored_roi_is = settings.biomarkers.pet_ct_egfr.stored_roi_is
        self.lesions: tuple[ExportedLesion, ...] = ()
        self.grid: Geometry | None = None

    def analyse(self, inputs: StudyInputs, scorers: Mapping[str, Scorer]) -> Conclusion:
        """Prepare and score every lesion as ``lesion.score_lesion`` does."""
        ct, pet = inputs.volumes["ct"], inputs.volumes["pet"]
        self.grid = ct.geometry
        self.lesions = tuple(self._lesion(number, ct, pet, roi, scorers) for number, roi in enumerate(inputs.rois, 1))
        return Conclusion((), PatientFinding(), False, (), EvidenceImages((), pet_is_suv=False))

    def _lesion(self, number: int, ct: Volume, pet: Volume, roi: Roi, scorers: Mapping[str, Scorer]) -> ExportedLesion:
        hyper = self._prepared(ct, pet, roi, scorers["egfr"].preprocessing)
        scores = {task: self._scores(ct, pet, roi, scorer) for task, scorer in scorers.items()}
        return ExportedLesion(number, roi, hyper, areas_mm2(roi.mask, ct)[list(hyper.slice_index)], scores)

    def _prepared(self, ct: Volume, pet: Volume, roi: Roi, recipe: Preprocessing) -> HyperImages:
        roi_is = "lesion" if roi.source is RoiSource.PROPOSED else self._stored_roi_is
        return prepare(ct, pet, roi.mask, recipe, roi_is=roi_is)

    def _scores(self, ct: Volume, pet: Volume, roi: Roi, scorer: Scorer) -> Scores:
        hyper = self._prepared(ct, pet, roi, scorer.preprocessing)
        if not len(hyper.images):
            return {}
        wild, mutant = 1 - scorer.preprocessing.class_index, scorer.preprocessing.class_index
        prob = scorer.score(hyper.images).prob[:, [wild, mutant]]
        return dict(zip(hyper.slice_index, prob, strict=True))


def analyse_for_export(content: StudyContent, scorers: Mapping[str, Scorer], settings: Settings) -> ExportedStudy:
    """Return the lesions of a study as they are served, or the code with which the service refuses it."""
    recorder = _Recorder(settings)
    biomarker = replace(PET_CT_EGFR, analyse=recorder.analyse)
    try:
        findings = analyse_study(content.datasets, biomarker, scorers, settings, refuse_as=content.refuse_as).findings
    except StudyRefusedError as refusal:
        return ExportedStudy(refusal.code.value)
    if findings.refusal is not None:
        return ExportedStudy(findings.refusal.code)
    reasons = [lesion.hyper.refusal.code for lesion in recorder.lesions if lesion.hyper.refusal is not None]
    if len(reasons) == len(recorder.lesions):
        return ExportedStudy(Counter(reasons).most_common(1)[0][0])
    of_lesions = (warning for lesion in recorder.lesions for warning in lesion.hyper.warnings)
    return ExportedStudy(
        code=None,
        lesions=recorder.lesions,
        grid=recorder.grid,
        warnings=tuple(sorted({w.code for w in (*findings.warnings, *of_lesions)})),
        used=_used(content, findings),
        reference=next(ds for ds in content.datasets if ds.SOPInstanceUID == findings.reference_sop_instance_uid),
    )


def _used(content: StudyContent, findings: StudyFindings) -> tuple[Dataset, ...]:
    roles = {series.series_instance_uid for series in findings.series if series.role is not None}
    return tuple(ds for ds in content.datasets if ds.get("SeriesInstanceUID") in roles)
