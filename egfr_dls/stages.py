"""The stages as the kernel knows them: by name, imported when used, so that the kernel itself imports no stage."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import ObjectEntry, StudyFindings
from egfr_dls.job_loop import Handler
from egfr_dls.settings import Settings
from egfr_dls.store import Store

if TYPE_CHECKING:
    from pydicom.dataset import Dataset  # the listener, which starts through this module, does without pydicom

StageMain = Callable[[Settings, str, threading.Event], None]
MAINS = {
    "listener": "listener.stage",
    "inference": "inference.stage",
    "reporter": "reporting.stage",
    "web": "egfr_dls.web.stage",
}


def main_of(stage: str) -> StageMain:
    """Return the function that is a stage's process."""
    main: StageMain = _attribute(MAINS[stage], "main")
    return main


def inference_handler(
    settings: Settings,
    store: Store,
    progress: Callable[[str], None],
    context: Path | None,
    refuse_as: StudyRefusedError | None,
) -> Handler:
    """Open the networks and return what scores one study a job.

    ``context`` is a file of clinical facts; ``refuse_as`` holds for a study that could not be read whole.
    """
    facts = (
        {} if context is None else {"context": _attribute("inference.biomarkers.context_file", "read_context")(context)}
    )
    handler: Handler = _attribute("inference.stage", "InferenceHandler")(
        settings, store, progress=progress, refuse_as=refuse_as, **facts
    )
    return handler


def findings_again(
    settings: Settings, store: Store, study_instance_uid: str, biomarker: str, forced: str | None
) -> StudyFindings:
    """Analyse a study of the store once more, as a job would, and enter no result."""
    handler = _attribute("inference.stage", "InferenceHandler")(settings, store, on_duty=False)
    found: StudyFindings = handler.findings_again(study_instance_uid, biomarker, forced)
    return found


def report_handler(settings: Settings, store: Store) -> Handler:
    """Return what builds one report a job."""
    handler: Handler = _attribute("reporting.stage", "ReportHandler")(settings, store)
    return handler


def read_folder(path: Path) -> tuple[tuple[Dataset, ...], int, tuple[Path, ...]]:
    """Return the DICOM objects under a path, pixels unread, how many other files there were, and the damaged ones."""
    contents = _attribute("inference.read.folder", "read_folder")(path)
    return contents.datasets, contents.skipped, contents.damaged


def latest_acquisition(datasets: Sequence[Dataset]) -> datetime | None:
    """Return the latest acquisition date-time among the images, or else the study's; None where no date is readable."""
    found: datetime | None = _attribute("inference.read.acquisition", "latest_acquisition")(datasets)
    return found


def report_text(findings: StudyFindings, settings: Settings) -> str:
    """Render the findings for a terminal."""
    text: str = _attribute("reporting.report_text", "report_text")(findings, settings.reporting.indeterminate_band)
    return text


def report_html(
    findings: StudyFindings, pages: Dataset | None, objects: Sequence[ObjectEntry], settings: Settings
) -> str:
    """Render the findings as a self-contained page; ``pages`` is the object of the page images, if there is one."""
    images = () if pages is None else _attribute("reporting.secondary_capture", "pages_png")(pages)
    html: str = _attribute("reporting.report_html", "report_html")(
        findings, images, indeterminate_band=settings.reporting.indeterminate_band, objects=objects
    )
    return html


def write_phantom(folder: Path, seed: int, roi: str) -> None:
    """Write a phantom PET/CT study with known truth."""
    make = _attribute("training_export.phantoms", "make_phantom")
    kind = _attribute("training_export.phantom_roi", "RoiKind")
    _attribute("training_export.phantom_dicom", "write_phantom")(make(seed), folder, kind(roi))


def _attribute(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
