"""A folder of DICOM files through the stages of the service, over a private ledger and spool: one code path."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import Row

from egfr_dls import stages
from egfr_dls.atomic_file import write_atomically
from egfr_dls.content_digest import content_digest
from egfr_dls.errors import EgfrDlsError, StudyRefusedError, TemporaryFailureError, UsageError
from egfr_dls.findings import ObjectEntry, StudyFindings, result_document
from egfr_dls.job_loop import Handler
from egfr_dls.ledger import arrivals, completion, jobs, results
from egfr_dls.ledger.arrivals import IndexedInstance
from egfr_dls.ledger.instances import INPUT_MODALITIES
from egfr_dls.refusals import RefusalCode
from egfr_dls.settings import Settings
from egfr_dls.store import Store, open_store
from egfr_dls.study import ReceivedInstance
from egfr_dls.telemetry import get_logger
from egfr_dls.uids import OBJECT_KINDS, series_uid

ROI_MODALITIES = frozenset({"SEG", "RTSTRUCT"})
WORKER = "analyze"
META_START = 144  # preamble, DICM, and the element that says how long the rest of the file meta is (PS3.10 7.1)
FOR_EVER = datetime.max.replace(tzinfo=UTC).timestamp()  # a study may be dated later than this machine's clock


@dataclass(frozen=True)
class Request:
    """What one call of `analyze` asks for. ``at`` is the time that stands in the objects, local and naive."""

    path: Path
    out: Path
    study_instance_uid: str | None
    biomarker: str
    rois: tuple[Path, ...]
    at: datetime | None
    context: Path | None = None
    register: bool = False


@contextmanager
def private_settings(load: Callable[[dict[str, Any]], Settings]) -> Iterator[Settings]:
    """Give the site's settings over a store of their own that is gone afterwards: nothing of a running service is touched."""
    with tempfile.TemporaryDirectory(prefix="egfr-dls-") as root:
        loaded = load(
            {
                "storage": {"root": root, "min_free_bytes": 0},
                "ledger": {"url": ""},
                "logging": {"site_key_file": None},
                "destinations": [],
            }
        )
        in_folder = loaded.storage.model_copy(update={"engine": "directory", "s3": None})
        yield loaded.model_copy(update={"storage": in_folder})


def analyse(
    request: Request, settings: Settings, progress: Callable[[str], None]
) -> tuple[dict[str, Any], StudyFindings]:
    """Score the study under ``request.path`` and write ``result.json``, ``report.html`` and ``objects/`` to ``request.out``.

    Returns
    -------
    the document of ``result.json``, and the findings that it shows

    Raises
    ------
    UsageError
        no DICOM, or several studies and none named
    """
    progress("files")
    datasets, fault = chosen_study(request)
    if request.rois:
        settings = _without_proposals(settings)
    if request.register:
        always = settings.inference.model_copy(update={"registration": "always"})
        settings = settings.model_copy(update={"inference": always})
    _make_folder(request.out)
    at = request.at or stages.latest_acquisition(datasets) or datetime(1970, 1, 1)  # noqa: DTZ001  # DICOM's local time
    with open_store(settings, WORKER) as store:
        study = str(datasets[0].StudyInstanceUID)
        _ingest(store, datasets, at)
        with store.ledger.begin() as tx:
            completion.complete(tx, study, request.biomarker, "score", settings, at.timestamp())
        _work(store, stages.inference_handler(settings, store, progress, request.context, fault))
        progress("report")
        _work(store, stages.report_handler(settings, store))
        progress("files out")
        return _write_out(store, study, request.out, settings)


def _without_proposals(settings: Settings) -> Settings:
    """Score a region that was given by hand, or refuse: another one is not what was asked for."""
    section = settings.biomarkers.pet_ct_egfr.model_copy(update={"propose_roi": False})
    biomarkers = settings.biomarkers.model_copy(update={"pet_ct_egfr": section})
    return settings.model_copy(update={"biomarkers": biomarkers})


def _not_whole(damaged: Sequence[Path]) -> StudyRefusedError | None:
    if not damaged:
        return None
    return StudyRefusedError(
        RefusalCode.PIXELS_UNREADABLE,
        f"{len(damaged)} DICOM files cannot be read, the first is {damaged[0].name}: cut, broken or without "
        "SOPClassUID (0008,0016), SOPInstanceUID (0008,0018), StudyInstanceUID (0020,000D) or "
        "SeriesInstanceUID (0020,000E). Needed: every file whole; copy the study again.",
    )


def _two_contents(each: Mapping[str, Sequence[Dataset]]) -> StudyRefusedError | None:
    """Refuse two contents under one UID: the service scores the one that came first, here none did."""
    for uid, same in each.items():
        files = {_digest(ds): Path(str(ds.filename)).name for ds in same} if len(same) > 1 else {}
        if len(files) > 1 and same[0].get("Modality") in INPUT_MODALITIES:
            return StudyRefusedError(
                RefusalCode.SERIES_AMBIGUOUS,
                f"SOPInstanceUID (0008,0018) {uid} is that of {len(files)} files with different contents: "
                f"{', '.join(sorted(files.values()))}. Needed: one content; remove the other files.",
            )
    return None


def _digest(ds: Dataset) -> str:
    """Return the digest of a file without preamble and file meta: what two copies of an instance share (PS3.10 7.1)."""
    data = Path(str(ds.filename)).read_bytes()
    meta_bytes = ds.file_meta.get("FileMetaInformationGroupLength")
    return content_digest([data if meta_bytes is None else data[META_START + meta_bytes :]])


def _make_folder(out: Path) -> None:
    try:
        (out / "objects").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}; needed: a folder that can be made and written") from error


def chosen_study(request: Request) -> tuple[list[Dataset], StudyRefusedError | None]:
    """Return the instances of the one study that is asked for, each once, and why it is no whole study all the same.

    ROI files that are given by hand take the place of the study's own.
    """
    found, skipped, damaged = stages.read_folder(request.path)
    if skipped:
        get_logger().warning("files_skipped", count=skipped)
    uids = sorted({str(ds.StudyInstanceUID) for ds in found})
    wanted = request.study_instance_uid or (uids[0] if len(uids) == 1 else None)
    if wanted is None:
        raise UsageError(f"{request.path} holds {len(uids)} studies; name one with --study: {', '.join(uids)}")
    if wanted not in uids:
        raise UsageError(f"{request.path} does not hold study {wanted}; it holds {', '.join(uids)}")
    own = {series_uid(wanted, request.biomarker, k, demonstration=d) for k in OBJECT_KINDS for d in (True, False)}
    chosen = [ds for ds in found if ds.StudyInstanceUID == wanted and ds.get("SeriesInstanceUID") not in own]
    if request.rois:
        given = [ds for path in request.rois for ds in _roi_objects(path)]
        chosen = [ds for ds in chosen if ds.get("Modality") not in ROI_MODALITIES] + given
    if not chosen:
        raise UsageError(f"{request.path} holds only results of egfr-dls itself; give the images")
    each: dict[str, list[Dataset]] = {}
    for ds in chosen:
        each.setdefault(str(ds.SOPInstanceUID), []).append(ds)
    return [same[0] for same in each.values()], _not_whole(damaged) or _two_contents(each)


def _roi_objects(path: Path) -> Sequence[Dataset]:
    found = stages.read_folder(path)[0]
    for ds in found:
        if ds.get("Modality") not in ROI_MODALITIES:
            raise UsageError(
                f"--roi {path}: Modality (0008,0060) of instance {ds.SOPInstanceUID} is {ds.get('Modality')}; "
                "needed: a SEG or RTSTRUCT"
            )
    return found


def _ingest(store: Store, datasets: Sequence[Dataset], at: datetime) -> None:
    study, association = str(datasets[0].StudyInstanceUID), str(uuid.uuid4())
    found = []
    for ds in datasets:
        data = Path(str(ds.filename)).read_bytes()
        entry = _entry(ds, study, association, at)
        ref = store.spool.append(entry, [data])
        found.append(IndexedInstance(entry, ref, content_digest([data]), own=False))
    with store.ledger.begin() as tx:
        arrivals.enter(tx, found, store.site_key, WORKER)


def _entry(ds: Dataset, study_instance_uid: str, association_id: str, at: datetime) -> ReceivedInstance:
    return ReceivedInstance(
        sop_class_uid=str(ds.get("SOPClassUID") or ""),
        sop_instance_uid=str(ds.SOPInstanceUID),
        study_instance_uid=study_instance_uid,  # a ROI given by hand belongs to the study it is given for
        series_instance_uid=str(ds.get("SeriesInstanceUID") or ""),
        modality=str(ds.get("Modality") or ""),
        transfer_syntax_uid=str(ds.file_meta.get("TransferSyntaxUID") or ""),
        calling_ae_title="",
        called_ae_title="",
        peer_address="",
        association_id=association_id,
        received_at=at.astimezone(UTC),
        frame_of_reference_uid=str(ds.get("FrameOfReferenceUID") or "")[:64],
    )


def _work(store: Store, handler: Handler) -> None:
    """Do the one job of a kind, here and now; what the service would retry or bury is told to the caller instead."""
    with store.ledger.begin() as tx:
        job = jobs.claim(tx, handler.kind, WORKER, FOR_EVER)
    if job is None:
        return
    try:
        effect = handler.handle(job)
    except TemporaryFailureError as error:
        raise EgfrDlsError(str(error)) from error
    with store.ledger.begin() as tx:
        jobs.finish(tx, job, effect)


def _write_out(
    store: Store, study_instance_uid: str, out: Path, settings: Settings
) -> tuple[dict[str, Any], StudyFindings]:
    with store.ledger.read() as tx:
        row = results.newest(tx, study_instance_uid)
        if row is None:
            raise EgfrDlsError("the analysis left no findings")
        built = results.objects_of(tx, row.id)
    entries = tuple(_write_object(store, made, out) for made in built)
    for stale in set(OBJECT_KINDS) - {e.kind for e in entries}:
        (out / "objects" / f"{stale}.dcm").unlink(missing_ok=True)
    found = StudyFindings.from_json(row.document)
    document = result_document(found, datetime.now(UTC).isoformat(), entries)
    pages = next((dcmread(out / e.path) for e in entries if e.kind == "pages"), None)
    write_atomically(out / "report.html", stages.report_html(found, pages, entries, settings).encode())
    write_atomically(out / "result.json", (json.dumps(document, indent=2) + "\n").encode())
    return document, found


def _write_object(store: Store, made: Row[Any], out: Path) -> ObjectEntry:
    write_atomically(out / "objects" / f"{made.kind}.dcm", store.objects.get(made.sha256))
    return ObjectEntry(made.kind, f"objects/{made.kind}.dcm", made.sop_class_uid, made.sop_instance_uid)
