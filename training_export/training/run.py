"""One run of ``egfr-dls train``: a folder that holds its facts, its state, its record and at the end the model package."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egfr_dls import PRODUCT_VERSION
from egfr_dls.atomic_file import SHARED, write_atomically
from egfr_dls.errors import UsageError
from inference.engine.contract import EngineOptions
from inference.engine.gate import load_scorer
from inference.engine.onnx import OrtBackend
from inference.models.manifest import ModelPackage
from training_export.export_onnx import PackageFacts, export_package
from training_export.import_manifest import LABELS
from training_export.training.fits import Bench, Trained, network_maker, train_held_out, train_in_folds
from training_export.training.machine import Machine
from training_export.training.recipe import Recipe
from training_export.training.record import write_curves, write_log, write_scores
from training_export.training.screen import Screen
from training_export.training.slices import checked
from training_export.training.source import Data
from training_export.training.splits import check_numbers

FACTS, LOCK = "run.json", ".lock"
SCHEMA = "egfr-dls-training/1"


@dataclass(frozen=True)
class Request:
    """What the command line says beside data and recipe."""

    biomarker: str
    task: str
    out: Path
    seed: int
    name: str
    version: str
    licence: str
    pretrained: Path | None = None
    resume: bool = False


def run(data: Data, recipe: Recipe, request: Request, machine: Machine, screen: Screen) -> ModelPackage:
    """Train, or go on training, and return the package, loaded once by the service's own engine.

    Raises
    ------
    TrainingRefusedError
        no network comes of these data
    UsageError
        the folder holds another run
    """
    digest = checked(data.slices, data.shape)
    check_numbers(data.slices.patient_labels, recipe.split.least_patients)
    make = network_maker(recipe, request.pretrained)
    with _claimed(request.out):
        _begin(request, _facts(recipe, request, machine, digest, data.parts))
        bench = Bench(recipe, request.seed, machine, request.out, make, screen.watch)
        trained = (train_in_folds if recipe.split.folds else train_held_out)(data, bench)
        write_log(request.out, trained.histories)
        write_curves(request.out, trained.histories)
        write_scores(request.out, trained.scored, request.task)
        package = export_package(
            trained.network, _package_facts(data, trained, recipe, request, digest), package_folder(request)
        )
    load_scorer(package, OrtBackend(), EngineOptions()).session.close()
    return package


def package_folder(request: Request) -> Path:
    """Return where the package lies; the folder of the run can be ``[inference] models``."""
    return request.out / f"{request.name}-{request.version}"


def _facts(
    recipe: Recipe, request: Request, machine: Machine, digest: str, parts: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return all that the weights depend on."""
    pretrained = request.pretrained
    return {
        "schema": SCHEMA,
        "product_version": PRODUCT_VERSION,
        "biomarker": request.biomarker,
        "task": request.task,
        "seed": request.seed,
        "device": machine.device,
        "data_sha256": digest,
        "split_sha256": None if parts is None else _digest_of(parts),
        "pretrained_sha256": None if pretrained is None else hashlib.sha256(pretrained.read_bytes()).hexdigest(),
        "recipe": recipe.model_dump(mode="json"),
    }


def _digest_of(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Keep a second process out of the folder."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{out}: another process is training there; needed: another folder, or patience"
            ) from error
        yield


def _begin(request: Request, facts: Mapping[str, Any]) -> None:
    path = request.out / FACTS
    if not path.exists():
        write_atomically(path, (json.dumps(facts, indent=2) + "\n").encode(), SHARED)
        return
    if not request.resume:
        raise UsageError(f"{request.out} holds a run already; --resume goes on with it, or name another folder")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        other = [key for key in facts if known.get(key) != facts[key]]
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}); remove the folder of the run and train anew") from error
    if other:
        raise UsageError(
            f"{request.out} holds a run with another {', '.join(other)}; needed: the same as there ({FACTS}), or another folder"
        )


def _package_facts(data: Data, trained: Trained, recipe: Recipe, request: Request, digest: str) -> PackageFacts:
    labels = data.slices.patient_labels
    about_patients = "; says nothing about patients" if data.synthetic else ""
    served = None
    if data.preprocessing is not None:
        served = data.preprocessing.model_copy(
            update={
                "input_signature": recipe.inputs,
                "aggregate": recipe.patient.aggregate,
                "cut_off": recipe.patient.cut_off,
            }
        )
    return PackageFacts(
        name=request.name,
        version=request.version,
        status="demonstration" if data.synthetic else "research",
        task=request.task,
        labels=LABELS[request.task],
        licence=request.licence,
        trained_on=(
            f"{len(labels)} patients ({int(labels.sum())} {LABELS[request.task][1]}), {len(data.slices)} images of "
            f"{data.source}; {trained.split}"
        ),
        performance=trained.performance + about_patients,
        preprocessing=served,
        input_shape=data.shape,
        provenance={
            "network": recipe.network,
            "seed": str(request.seed),
            "data_sha256": digest,
            "aggregate": recipe.patient.aggregate,
        },
    )
