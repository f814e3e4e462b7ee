"""Everything that the objects of one report have in common, as one value; nothing here reads a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from pydicom import Dataset

from egfr_dls.evidence import EvidenceImages, LesionEvidence
from egfr_dls.findings import LesionFinding, StudyFindings
from reporting import source_header
from reporting.identity import Device, device
from reporting.printed_scores import PrintedScores
from reporting.source_header import SourceImages
from reporting.variants import Variant


@dataclass(frozen=True)
class Predecessor:
    """The report that this one replaces (Predecessor Documents Sequence (0040,A360))."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True)
class Revision:
    """Which report of the study this is.

    Parameters
    ----------
    number
        Instance Number (0020,0013) of every object; 1 is the first report
    predecessor
        the report before; None for the first
    other_predecessors
        the same report in other SOP classes, where destinations of it took those
    withdrawn_predecessor_uid
        SOP Instance UID of the report before where it was withdrawn: no object names it, yet it is in the key, so that
        findings which come back give a new object and not the withdrawn one again
    series_datetime
        by kind: when the FIRST object of that series was made; a kind without entry starts its series now. Archives
        expect constant series attributes.
    """

    number: int = 1
    predecessor: Predecessor | None = None
    series_datetime: Mapping[str, datetime] = field(default_factory=dict)
    other_predecessors: tuple[Predecessor, ...] = ()
    withdrawn_predecessor_uid: str | None = None

    def predecessor_of(self, sop_class_uid: str) -> Predecessor | None:
        """Return the report before that a destination of this class of report has, if it took that class then too."""
        return next((p for p in self.other_predecessors if p.sop_class_uid == sop_class_uid), self.predecessor)


@dataclass(frozen=True)
class ReportOptions:
    """What a site chose (``[reporting]``), and what its destinations take.

    Parameters
    ----------
    pages
        page images, or none
    indeterminate_band
        half-width about the cut-off
    maps, pdf
        the activation maps as numbers, and the pages as a PDF, or not
    variants
        each is built once, whatever several of them have in common too; at least one
    """

    pages: bool = True
    indeterminate_band: float = 0.0
    maps: bool = False
    pdf: bool = False
    variants: tuple[Variant, ...] = (Variant(),)


@dataclass(frozen=True, eq=False)
class ReportContext:
    """The inputs of one report, with the facts that several objects derive from them."""

    findings: StudyFindings
    evidence: EvidenceImages
    sources: SourceImages
    content_datetime: datetime
    revision: Revision
    options: ReportOptions

    @cached_property
    def device(self) -> Device:
        """The network that gave the EGFR score, as equipment."""
        return device(self.findings, self.findings.model)

    @cached_property
    def patient(self) -> Dataset:
        """Patient and study attributes of every object."""
        return source_header.patient_and_study(self.sources.reference)

    @property
    def predecessor_uid(self) -> str | None:
        """SOP Instance UID of the report before, withdrawn or not: it is in the key of every object."""
        before = self.revision.predecessor
        return self.revision.withdrawn_predecessor_uid if before is None else before.sop_instance_uid

    @property
    def scored(self) -> bool:
        """Whether the findings hold a score (false: a refusal report)."""
        return self.findings.status == "scored"

    @cached_property
    def scores(self) -> PrintedScores:
        """Printed forms, cut-offs and classes of the scores."""
        return PrintedScores(self.findings, self.options.indeterminate_band)

    def evidence_of(self, lesion: LesionFinding) -> LesionEvidence | None:
        """Return the pixels of a lesion, if it has any."""
        return next((e for e in self.evidence.lesions if e.label == lesion.label), None)

    def image(self, sop_instance_uid: str) -> Dataset:
        """Return the slim header copy of a source image, made once; nobody changes it.

        Raises
        ------
        KeyError
            the caller did not give the header of an instance that the findings name
        """
        copy = self._copies.get(sop_instance_uid)
        if copy is None:
            source = self.sources.images[sop_instance_uid]
            copy = source_header.evidence_copy(source, self.findings.study_instance_uid)
            self._copies[sop_instance_uid] = copy
        return copy

    @cached_property
    def _copies(self) -> dict[str, Dataset]:
        return {}
