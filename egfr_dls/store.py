"""Everything durable that a stage works on, opened from the settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from egfr_dls import telemetry
from egfr_dls.errors import ConfigurationError
from egfr_dls.ledger import Ledger
from egfr_dls.objectstore import ObjectStore
from egfr_dls.settings import Settings
from egfr_dls.settings_sections import S3
from egfr_dls.spool import DirectorySpool, Spool

if TYPE_CHECKING:
    from egfr_dls.spool.s3 import S3Spool


@dataclass(frozen=True)
class Store:
    """The ledger, the spool of received instances, the store of built objects, and the key that names studies in logs."""

    ledger: Ledger
    spool: Spool
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
        the root cannot be made or written, or the bucket is not there or not for us
    SpoolReadError
        object storage does not answer
    """
    root = settings.storage.root
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        spool = open_spool(settings, listener, check=True)
        store = Store(
            Ledger(settings.ledger_url),
            spool,
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


def open_spool(settings: Settings, listener: str | None = None, *, check: bool = False) -> Spool:
    """Open the spool of ``[storage] engine``.

    Parameters
    ----------
    listener
        in whose name it is written; None to read it only
    check
        ask object storage whether it is there; a process that has asked may not fork any more

    Raises
    ------
    ConfigurationError
        object storage is not there, or not for us
    """
    if settings.storage.s3 is None:
        return DirectorySpool(settings.storage.root / "spool", listener)
    spool = _object_storage(settings.storage.s3, listener)
    if check:
        spool.check(hashlib.sha256(telemetry.site_key(settings)).hexdigest())
    return spool


def _object_storage(s3: S3, listener: str | None) -> S3Spool:
    try:
        from egfr_dls.spool.bucket import Bucket, BucketRefusedError
        from egfr_dls.spool.s3 import S3Spool
    except ImportError as error:
        raise ConfigurationError("storage.engine 's3' needs the extra s3: pip install 'egfr-dls[s3]'") from error
    try:
        return S3Spool(Bucket(s3.bucket, s3.endpoint, s3.prefix), listener)
    except BucketRefusedError as error:
        raise ConfigurationError(f"storage.s3: {error}") from error
