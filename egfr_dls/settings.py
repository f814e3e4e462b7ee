"""The configuration: one TOML file, every key checked, each plain key overridable from the environment.

``EGFR_DLS_<SECTION>__<KEY>`` overrides a key. An unknown key is an error that names the nearest known one.
Units stand in names.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import (
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings_faults import nearest, sentence
from egfr_dls.settings_sections import (
    Biomarkers,
    Context,
    Destination,
    Http,
    Inference,
    LedgerSettings,
    Listener,
    Logging,
    Reporting,
    Source,
    Storage,
    Study,
)

PREFIX = "EGFR_DLS_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"

Node = TypeVar("Node", Destination, Source)


class Settings(BaseSettings):
    """The whole configuration. Only ``[storage] root`` must be given."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    listener: Listener = Listener()
    study: Study = Study()
    storage: Storage
    ledger: LedgerSettings = LedgerSettings()
    inference: Inference = Inference()
    biomarkers: Biomarkers = Biomarkers()
    reporting: Reporting = Reporting()
    destinations: tuple[Destination, ...] = ()
    sources: tuple[Source, ...] = ()
    context: Context | None = None
    http: Http | None = None
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

    @field_validator("destinations", "sources")
    @classmethod
    def _named_once(cls, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """Deliveries are kept by the destination's name, retrievals by the source's."""
        names = [node.name for node in nodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"name {', '.join(twice)} is there more than once; needed: a name of its own for each")
        return nodes

    @property
    def ledger_url(self) -> str:
        """The database URL, with its default filled in."""
        return self.ledger.url or f"sqlite:///{self.storage.root.absolute() / 'ledger.sqlite'}"

    @property
    def configuration_sha256(self) -> str:
        """Digest of every setting that can change a score or the bytes of a report (part of each UID's key)."""
        switches = {name: {"enabled"} for name in type(self.biomarkers).model_fields}
        facts = {
            "biomarkers": self.biomarkers.model_dump(mode="json", exclude=switches),
            "reporting": self.reporting.model_dump(mode="json"),
            "registration": self.inference.registration,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration file (and the environment) and check it whole.

    Parameters
    ----------
    path
        the TOML file; None: the one that ``EGFR_DLS_CONFIG`` names, else defaults only
    overrides
        sections given by the program itself (a private store for ``analyze``); they replace the keys of the file and of
        the environment

    Raises
    ------
    ConfigurationError
        names every wrong key, what was found and, for an unknown key, the nearest known one
    """
    document = _read(path)
    for section, keys in (overrides or {}).items():
        document[section] = _merged(document.get(section), keys)
    _refuse_variables(os.environ)
    try:
        return _insist(Settings(**document), overrides or {})
    except ValidationError as error:
        raise ConfigurationError("; ".join(sentence(fault, Settings) for fault in error.errors())) from error
    except SettingsError as error:  # an array that the environment spells wrongly
        raise ConfigurationError(f"{error}; needed: JSON, as in '[]', or the key in the file") from error


def load_or_default(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration like ``load``; without a file every default holds, and the storage root is a private one.

    For the commands that also run on the defaults (``analyze``, ``suv``, ``models``, ``config``) and keep nothing.
    """
    sections = dict(overrides or {})
    if path is None and not os.environ.get(CONFIG_VARIABLE) and "EGFR_DLS_STORAGE__ROOT" not in os.environ:
        sections.setdefault("storage", {"root": "egfr-dls-store"})
    return load(path, sections)


def _merged(section: Any, keys: Any) -> Any:
    return {**section, **keys} if isinstance(section, Mapping) and isinstance(keys, Mapping) else keys


def _insist(loaded: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Return the settings with the program's own keys in force, whatever the environment says."""
    values = {}
    for name, keys in overrides.items():
        kind: Any = Settings.model_fields[name].annotation
        wanted = _merged(getattr(loaded, name).model_dump(), keys) if isinstance(keys, Mapping) else keys
        values[name] = TypeAdapter(kind).validate_python(wanted)
    return loaded.model_copy(update=values)


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


def _refuse_variables(environment: Iterable[str]) -> None:
    """Refuse a variable of ours that names no section, or no key: arrays of tables stand in the file only."""
    sections = list(Settings.model_fields)
    for name in environment:
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        section, _, key = name.removeprefix(PREFIX).lower().partition("__")
        if section not in sections:
            raise ConfigurationError(f"environment variable {name}: no section [{section}]{nearest(section, sections)}")
        if not key:
            raise ConfigurationError(
                f"environment variable {name} names no key; needed: {PREFIX}<SECTION>__<KEY>, and arrays of tables in the file"
            )
