"""Everything durable that a stage works on, opened from the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from egfr_dls import telemetry
from egfr_dls.errors import ConfigurationError
from egfr_dls.ledger import Ledger
from egfr_dls.objectstore import ObjectStore
from egfr_dls.settings import Settings
from egfr_dls.spool import DirectorySpool


@dataclass(frozen=True)
class Store:
    """The ledger, the spool of received instances, the store of built objects, and the key that names studies in logs."""

    ledger: Ledger
    spool: DirectorySpool
    objects: ObjectStore
    site_key: bytes


@contextmanager
def open_store(settings: Settings, listener: str | None = None) -> Iterator[Store]:
    """Open (and make, if missing) the durable state under ``[storage] root``.

    Parameters
    ----------
    listener
        in whose name the spool is written; None to read it only

    Raises
    ------
    ConfigurationError
        the root cannot be made or written
    """
    root = settings.storage.root
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = Store(
            Ledger(settings.ledger_url),
            DirectorySpool(root / "spool", listener),
            ObjectStore(root / "objects"),
            telemetry.site_key(settings),
        )
    except OSError as error:
        raise ConfigurationError(
            f"storage.root {root}: {error.strerror}; needed: a folder that can be written"
        ) from error
    try:
        yield store
    finally:
        store.spool.close()
        store.ledger.close()
