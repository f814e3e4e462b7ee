"""The configuration: one TOML file, every key checked, each plain key overridable from the environment.

``EGFR_DLS_<SECTION>__<KEY>`` overrides a key. An unknown key is an error that names the nearest known one.
Units stand in names.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from egfr_dls.errors import ConfigurationError

CONFIG_VARIABLE = "EGFR_DLS_CONFIG"
AeTitle = Field(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]+$")  # PS3.5 table 6.2-1, AE


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Peer(_Section):
    """Who may open an association: AE title and where it calls from."""

    ae_title: str = AeTitle
    host: str  # name, address or network (CIDR)


class Listener(_Section):
    """How associations are accepted."""

    ae_title: str = Field("EGFR_DLS", min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]+$")
    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)  # 0: any free one, logged at start
    max_associations: int = Field(64, ge=1)
    max_associations_per_peer: int = Field(16, ge=1)
    max_object_bytes: int = Field(4294967296, ge=1)
    idle_seconds: float = Field(60, gt=0)
    drain_seconds: float = Field(30, ge=0)
    check_called_ae_title: bool = True
    accept_any_peer: bool = False
    peers: tuple[Peer, ...] = ()


class Study(_Section):
    """When a study counts as complete."""

    quiet_seconds: float = Field(60, ge=0)  # since the last instance, when the required pair is there
    force_seconds: float = Field(5400, ge=0)
    force_action: Literal["refuse", "score", "wait"] = "refuse"


class Storage(_Section):
    """Where the durable state lies."""

    root: Path
    min_free_bytes: int = Field(1073741824, ge=0)


class LedgerSettings(_Section):
    """Which database holds the ledger; empty: ``ledger.sqlite`` under the storage root."""

    url: str = ""


class Inference(_Section):
    """How networks are run."""

    backend: Literal["onnxruntime"] = "onnxruntime"
    models: Path | None = None  # default: the shipped packages
    threads: int = Field(1, ge=1)
    workers: int = Field(1, ge=1)
    max_batch: int = Field(64, ge=1)
    allow_demonstration_models: bool = False


class PetCtEgfr(_Section):
    """The PET/CT biomarker."""

    enabled: bool = True
    model: str | None = None  # "name@version"; needed only where `models` holds more than one that fits
    companion_model: str | None = None
    propose_roi: bool = True
    ambiguous_roi: Literal["propose", "refuse"] = "propose"
    roi_label_pattern: str | None = None
    stored_roi_is: Literal["lesion", "box"] = "lesion"
    suv_failure_policy: Literal["omit", "refuse"] = "omit"


class Biomarkers(_Section):
    """One sub-section per biomarker."""

    pet_ct_egfr: PetCtEgfr = PetCtEgfr()


class Reporting(_Section):
    """Which objects are made."""

    refusals: bool = True
    pages: bool = True
    indeterminate_band: float = Field(0.0, ge=0, le=0.5)


class Destination(_Section):
    """A PACS that gets the results."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    ae_title: str = AeTitle
    host: str
    port: int = Field(ge=1, le=65535)
    required: bool = True
    retry_seconds: float = Field(30, gt=0)  # first back-off of one object; doubles up to an hour


class Logging(_Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    site_key_file: Path | None = None  # default: site.key under the storage root, made at first start


class Settings(BaseSettings):
    """The whole configuration. Only ``[storage] root`` must be given."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="EGFR_DLS_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    listener: Listener = Listener()
    study: Study = Study()
    storage: Storage
    ledger: LedgerSettings = LedgerSettings()
    inference: Inference = Inference()
    biomarkers: Biomarkers = Biomarkers()
    reporting: Reporting = Reporting()
    destinations: tuple[Destination, ...] = ()
    logging: Logging = Logging()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # pydantic-settings fixes this signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # nor a secrets folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings

    @property
    def ledger_url(self) -> str:
        """The database URL, with its default filled in."""
        return self.ledger.url or f"sqlite:///{self.storage.root.absolute() / 'ledger.sqlite'}"

    @property
    def configuration_sha256(self) -> str:
        """Digest of every setting that can change a score or the bytes of a report (part of each UID's key)."""
        facts = {
            "biomarkers": self.biomarkers.model_dump(mode="json", exclude={"pet_ct_egfr": {"enabled"}}),
            "reporting": self.reporting.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# Keys of the operator's contract that later versions will serve. Giving one is an error that says so: a setting
# that is silently without effect would be worse.
NOT_IN_THIS_VERSION: dict[str, str] = {
    "listener.tls": "DICOM TLS",
    "listener.workers": "several listener processes",
    "storage.engine": "object storage",
    "storage.s3": "object storage",
    "storage.retention_days": "removal of delivered studies",
    "inference.precision": "GPU inference",
    "inference.engine_store": "GPU inference",
    "inference.shadow_every": "GPU inference",
    "inference.backend_required": "GPU inference",
    "inference.device_index": "GPU inference",
    "inference.triton_url": "Triton",
    "inference.gpu_preprocessing": "GPU inference",
    "biomarkers.mr_brain_metastasis_egfr": "the brain-metastasis biomarker",
    "reporting.map": "the parametric map",
    "reporting.pdf": "the PDF report",
    "destinations.storage_commitment": "storage commitment",
    "destinations.sr_class": "other SR classes",
    "destinations.tls": "DICOM TLS",
    "destinations.transport": "STOW-RS",
    "destinations.url": "STOW-RS",
    "listener.peers.certificate_names": "DICOM TLS",
    "sources": "fetching missing series",
    "context": "clinical context files",
    "http": "the HTTP pages",
}


def load(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration file (and the environment) and check it whole.

    Parameters
    ----------
    path
        the TOML file; None: the one that ``EGFR_DLS_CONFIG`` names, else defaults only
    overrides
        sections given by the program itself (a private store for ``analyze``); they replace the file's keys

    Raises
    ------
    ConfigurationError
        names every wrong key, what was found and, for an unknown key, the nearest known one
    """
    document = _read(path)
    for section, keys in (overrides or {}).items():
        document[section] = {**document.get(section, {}), **keys} if isinstance(keys, Mapping) else keys
    _refuse_unknown_variables(os.environ)
    try:
        return Settings(**document)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_sentence(fault) for fault in error.errors())) from error


def load_or_default(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration like ``load``; without a file every default holds, and the storage root is a private one.

    For the commands that also run on the defaults (``analyze``, ``suv``, ``models``, ``config``) and keep nothing.
    """
    sections = dict(overrides or {})
    if path is None and not os.environ.get(CONFIG_VARIABLE) and "EGFR_DLS_STORAGE__ROOT" not in os.environ:
        sections.setdefault("storage", {"root": "egfr-dls-store"})
    return load(path, sections)


def _read(path: Path | None) -> dict[str, Any]:
    named = path or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    if named is None:
        return {}
    try:
        return tomllib.loads(named.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"configuration file {named}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration file {named} is not TOML: {error}") from error


def _refuse_unknown_variables(environment: Iterable[str]) -> None:
    sections = list(Settings.model_fields)
    for name in environment:
        if not name.startswith("EGFR_DLS_") or name == CONFIG_VARIABLE:
            continue
        section = name.removeprefix("EGFR_DLS_").split("__")[0].lower()
        if section not in sections:
            raise ConfigurationError(
                f"environment variable {name}: no section [{section}]{_nearest(section, sections)}"
            )


def _sentence(fault: Any) -> str:
    path = [part for part in fault["loc"] if not isinstance(part, int)]
    key = ".".join(str(part) for part in path)
    if fault["type"] == "extra_forbidden":
        if key in NOT_IN_THIS_VERSION:
            return f"{key}: {NOT_IN_THIS_VERSION[key]} is not in this version; remove the key"
        return f"unknown key {key}{_nearest(str(path[-1]), _known_keys(path[:-1]))}"
    if fault["type"] == "missing":
        return f"{key} is missing and must be given"
    return f"{key}: {fault['msg']}, found {fault['input']!r}"


def _known_keys(sections: list[Any]) -> list[str]:
    model: type[BaseModel] = Settings
    for name in sections:
        annotation = model.model_fields[name].annotation
        arguments = getattr(annotation, "__args__", None)
        model = arguments[0] if arguments else annotation  # type: ignore[assignment]  # sections are models, or tuples of them
    return list(model.model_fields)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"
