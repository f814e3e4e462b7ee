"""What a biomarker is to the stage: one folder, one ``Biomarker`` value, one entry in ``BIOMARKERS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from egfr_dls.biomarkers import BiomarkerRule
from egfr_dls.evidence import EvidenceImages
from egfr_dls.findings import LesionFinding, PatientFinding
from egfr_dls.refusals import Remark
from egfr_dls.volume import Volume
from inference.biomarkers.clinical_context import ClinicalContext
from inference.engine.gate import Scorer
from inference.roi.region import Roi

RoiIs = Literal["lesion", "box"]


@dataclass(frozen=True)
class NetworkNeed:
    """A network that a biomarker runs.

    ``task`` is that of the model package; ``setting`` the key below ``[biomarkers.<name>]`` that may name a package;
    without a package for a network that is not ``required`` its score is left out.
    """

    task: str
    setting: str
    required: bool


@dataclass(frozen=True, eq=False)
class StudyInputs:
    """One study, ready to be scored.

    Parameters
    ----------
    volumes
        role (``ct``, ``pet``) to volume, all on one grid
    rois
        the lesions, ranked: the first is the primary
    stored_roi_is
        whether stored regions are lesions or boxes drawn about them; a proposed region is always a lesion
    tracer_stated
        whether the header names the radiopharmaceutical (0018,0031), (0054,0304)
    outside_chest
        labels of the regions that lie outside the chest
    """

    volumes: Mapping[str, Volume]
    rois: tuple[Roi, ...]
    stored_roi_is: RoiIs = "lesion"
    tracer_stated: bool = True
    outside_chest: frozenset[str] = frozenset()
    context: ClinicalContext = field(default_factory=ClinicalContext)


@dataclass(frozen=True, eq=False)
class Conclusion:
    """What a biomarker says of a study; ``partial`` where a lesion or a network gave no score."""

    lesions: tuple[LesionFinding, ...]
    patient: PatientFinding
    partial: bool
    warnings: tuple[Remark, ...]
    evidence: EvidenceImages

    @property
    def images_read(self) -> tuple[str, ...]:
        """SOP Instance UIDs of the slices that the networks read, each once, in order of first use."""
        slices = [s for lesion in self.lesions for s in lesion.slices]
        return tuple(dict.fromkeys(uid for s in slices for uid in (s.ct_sop_instance_uid, s.pet_sop_instance_uid)))


@dataclass(frozen=True)
class Biomarker:
    """A biomarker's facts and its one function.

    Parameters
    ----------
    rule
        its name, and which studies ask for it
    preprocessing_id
        which packages it takes, together with a network's task
    analyse
        scores a study; raises StudyRefusedError where no lesion can be scored
    """

    rule: BiomarkerRule
    preprocessing_id: str
    networks: tuple[NetworkNeed, ...]
    analyse: Callable[[StudyInputs, Mapping[str, Scorer]], Conclusion]

    @property
    def name(self) -> str:
        """As in settings, findings and ``result.json``; also its folder's name."""
        return self.rule.name
