"""Exports a cohort: survey, labels, study by study, tables, manifest. Interrupted, the next call goes on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from egfr_dls import PRODUCT_VERSION
from egfr_dls.errors import EgfrDlsError, UsageError
from egfr_dls.settings import Settings
from egfr_dls.telemetry import error_fields, get_logger
from inference.engine.gate import Scorer
from inference.read.header import text
from training_export.cohort.analysis import analyse_for_export
from training_export.cohort.folder import CohortFolder, Record
from training_export.cohort.key import LEAST_DAYS, MOST_DAYS, CohortKey
from training_export.cohort.labels import KnownLabels, Window, match
from training_export.cohort.layout import MANIFEST_NAME, SCHEMA
from training_export.cohort.patients import ADVICE, Fault, StudyPlace, faults, identity_of
from training_export.cohort.studies import IMAGES, StudyContent, StudySource, Survey
from training_export.cohort.study import StudyNames, refused_record, score_columns, write_study
from training_export.cohort.tables import LabelledStudy, Refused, tables
from training_export.deidentification.rules import METHOD, METHODS, PRIVATE
from training_export.pathology.from_csv import read_csv
from training_export.pathology.from_fhir import read_fhir
from training_export.pathology.labels import read_labels
from training_export.pathology.results import Reading

REFUSED_ADVICE = "docs/reference/refusals.md; `egfr-dls analyze` says it in full"
Track = Callable[[Sequence[StudyPlace]], Iterable[StudyPlace]]  # a progress bar


@dataclass(frozen=True)
class Request:
    """What one call asks for."""

    out: Path
    labels: Path | None = None
    pathology: tuple[Path, ...] = ()
    window: Window = field(default_factory=Window)
    dicom: bool = False


@dataclass(frozen=True)
class Exporter:
    """What stays the same through one export."""

    source: StudySource
    key: CohortKey
    settings: Settings
    scorers: Mapping[str, Scorer]
    request: Request

    def export(self, track: Track) -> dict[str, Any]:
        """Write the cohort and return its manifest.

        Raises
        ------
        UsageError
            the source holds nothing, labels contradict, or the folder holds other studies
        TemporaryFailureError
            the disk is full or fails; the next call goes on from there
        """
        survey = self.source.survey()
        left_out = faults(survey.places)
        places = [place for place in survey.places if place.study_instance_uid not in left_out]
        known = self._known(places)
        folder = CohortFolder(self.request.out, self.key.name)
        self._check_others(folder, survey.places)
        folder.forget_manifest()
        records = {place.study_instance_uid: self._recorded(place, folder) for place in track(places)}
        released = [p for p in survey.places if left_out.get(p.study_instance_uid) is Fault.STUDY_RELEASED]
        for place in released:  # it was exported while it was there, or is refused
            before = folder.record(StudyNames.of(self.key, place).study, None)
            if before is not None:
                records[place.study_instance_uid] = before
        return self._finish(folder, survey, left_out, records, known)

    def _known(self, places: Sequence[StudyPlace]) -> KnownLabels:
        labels = {} if self.request.labels is None else read_labels(self.request.labels)
        return match(places, self.key, labels, [_reading(path) for path in self.request.pathology], self.request.window)

    def _check_others(self, folder: CohortFolder, places: Sequence[StudyPlace]) -> None:
        others = folder.others(frozenset(self.key.study(place.study_instance_uid) for place in places))
        if others:
            raise UsageError(
                f"--out {self.request.out} holds {len(others)} studies that are not in the source, the first is {others[0]}; "
                "needed: an empty folder, or a source that holds them too"
            )

    def _recorded(self, place: StudyPlace, folder: CohortFolder) -> Record:
        """Return the record of a study; a defect on one study is logged and stops no other, and the next call tries again."""
        try:
            return self._study(place, folder)
        except EgfrDlsError:
            raise
        except Exception as error:  # noqa: BLE001  # one header of thousands must not end the export
            get_logger().error("defect", **error_fields(error))
            return refused_record(StudyNames.of(self.key, place), Fault.DEFECT.value, "")

    def _study(self, place: StudyPlace, folder: CohortFolder) -> Record:
        """Return the record of a study: the one that is there, or that of the study made now."""
        names = StudyNames.of(self.key, place)
        content = self.source.read(place)
        fingerprint = self._fingerprint(content)
        before = folder.record(names.study, fingerprint)
        if before is not None:
            return before
        code = _other_patient(content.datasets, place) or None
        found = None if code else analyse_for_export(content, self.scorers, self.settings)
        if found is not None and found.code is None:
            return write_study(names, found, folder, fingerprint, dicom=self.request.dicom)
        record = refused_record(names, code or (found.code or "" if found else ""), fingerprint)
        folder.write_record(record)
        return record

    def _fingerprint(self, content: StudyContent) -> str:
        """Return the digest of everything that a study's files depend on."""
        parts = [content.sha256, str(content.refuse_as), PRODUCT_VERSION, self.settings.configuration_sha256]
        parts += [f"{task}:{scorer.use.sha256}" for task, scorer in sorted(self.scorers.items())]
        return self.key.fingerprint(*parts, METHOD, str(self.request.dicom))

    def _finish(
        self,
        folder: CohortFolder,
        survey: Survey,
        left_out: Mapping[str, Fault],
        records: Mapping[str, Record],
        known: KnownLabels,
    ) -> dict[str, Any]:
        exported = [
            LabelledStudy(record, known.of_study.get(uid, {}))
            for uid, record in records.items()
            if record["status"] == "exported"
        ]
        refused = [
            Refused(record["patient"], record["study"], record["code"], ADVICE.get(record["code"], REFUSED_ADVICE))
            for record in records.values()
            if record["status"] == "refused"
        ]
        refused += [
            self._left_out(place, left_out[place.study_instance_uid])
            for place in survey.places
            if place.study_instance_uid in left_out and place.study_instance_uid not in records
        ]
        files = {name: digest for study in exported for name, digest in study.record["files"].items()}
        files |= {name: folder.write(name, data) for name, data in tables(exported, refused, known).items()}
        manifest = self._manifest(survey, exported, refused, known, files)
        folder.write(MANIFEST_NAME, (json.dumps(manifest, indent=1) + "\n").encode())
        return manifest

    def _left_out(self, place: StudyPlace, fault: Fault) -> Refused:
        names = StudyNames.of(self.key, place)
        patient = names.patient if place.identity.patient_id else ""
        return Refused(patient, names.study, fault.value, ADVICE[fault])

    def _manifest(
        self,
        survey: Survey,
        exported: Sequence[LabelledStudy],
        refused: Sequence[Refused],
        known: KnownLabels,
        files: Mapping[str, str],
    ) -> dict[str, Any]:
        records = [study.record for study in exported]
        names = {record["study"] for record in records}
        return {
            "schema": SCHEMA,
            "product_version": PRODUCT_VERSION,
            "key": self.key.name,
            "preprocessing": self.scorers["egfr"].preprocessing.model_dump(mode="json"),
            "networks": score_columns(self.scorers),
            "window": vars(self.request.window),
            "deidentification": {
                "method": METHOD,
                "codes": [{"scheme": "DCM", "value": value, "meaning": meaning} for value, meaning in METHODS],
                "dates_moved_days": [LEAST_DAYS, MOST_DAYS],
                "private_elements": [f"({e.tag >> 16:04X},xx{e.tag & 0xFF:02X}) {e.creator}: {e.why}" for e in PRIVATE],
            },
            "counts": {
                "studies": len(survey.places),
                "exported": len(exported),
                "phantoms": sum(p.is_phantom for p in survey.places if self.key.study(p.study_instance_uid) in names),
                "refused": len(refused),
                "patients": len({record["patient"] for record in records}),
                "images": sum(lesion["images"] for record in records for lesion in record["lesions"]),
                "files_skipped": survey.skipped_files,
                "files_damaged": survey.damaged_files,
                "labelled": {c: sum(bool(s.labels.get(c)) for s in exported) for c in ("label", "pdl1_label")},
                "refused_by_code": dict(sorted(Counter(r.code for r in refused).items())),
                "burned_in": _sum(record["burned_in"] for record in records),
                "copies_left_out": _sum(record["copies_left_out"] for record in records),
                "statements": dict(known.counts),
            },
            "files": dict(sorted(files.items())),
        }


def _reading(path: Path) -> Reading:
    return read_csv(path) if path.suffix.lower() == ".csv" else read_fhir(path)


def _other_patient(datasets: Iterable[Dataset], place: StudyPlace) -> str:
    """Say that an image of the study names another patient than the one under whose name it would be exported."""
    whose = (place.identity.patient_id, place.identity.issuer)
    images = (identity_of(ds) for ds in datasets if text(ds, "Modality") in IMAGES)
    return "" if all((i.patient_id, i.issuer) == whose for i in images) else Fault.PATIENT_MIXED.value


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))
