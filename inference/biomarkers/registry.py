"""What each biomarker of ``egfr_dls.biomarkers`` computes with, and the networks that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from egfr_dls.settings import Settings
from inference.biomarkers.contract import Biomarker
from inference.biomarkers.pet_ct_egfr.biomarker import PET_CT_EGFR
from inference.engine.contract import EngineOptions
from inference.engine.gate import BACKENDS, Scorer, load_scorer
from inference.models.catalogue import choose, fits, read_catalogue
from inference.models.manifest import ModelPackage
from inference.models.signature import Trust

BIOMARKERS: tuple[Biomarker, ...] = (PET_CT_EGFR,)


def load_scorers(biomarker: Biomarker, settings: Settings) -> dict[str, Scorer]:
    """Open the networks of a biomarker, by task; each has passed its golden test.

    Raises
    ------
    ConfigurationError
        a package is faulty, missing, ambiguous or not signed as the settings need
    """
    backend = BACKENDS[settings.inference.backend]()
    options = EngineOptions(threads=settings.inference.threads, max_batch=settings.inference.max_batch)
    catalogue = read_catalogue(settings.inference.models, Trust.of(settings.inference))
    chosen = choose_packages(biomarker, catalogue, settings)
    return {task: load_scorer(package, backend, options) for task, package in chosen.items()}


def choose_packages(
    biomarker: Biomarker, catalogue: Sequence[ModelPackage], settings: Settings
) -> Mapping[str, ModelPackage]:
    """Return the package of each network, by task; an optional network without any package is left out."""
    section = getattr(settings.biomarkers, biomarker.name)
    chosen = {}
    for need in biomarker.networks:
        wanted: str | None = getattr(section, need.setting)
        if (
            wanted is None
            and not need.required
            and not any(fits(p, need.task, biomarker.preprocessing_id) for p in catalogue)
        ):
            continue
        setting = f"biomarkers.{biomarker.name}.{need.setting}"
        chosen[need.task] = choose(catalogue, need.task, biomarker.preprocessing_id, wanted, setting)
    return chosen
