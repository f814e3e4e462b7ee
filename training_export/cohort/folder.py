"""The folder that a cohort is written to: every file whole or not there, and what was written before an interruption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from egfr_dls.atomic_file import UNFINISHED, write_atomically
from egfr_dls.errors import TemporaryFailureError, UsageError
from training_export.cohort.layout import DICOM, HYPERIMAGES, MANIFEST_NAME, RECORDS, STUDY_SCHEMA

Record = dict[str, Any]  # of one study; docs/cohort.md has its keys


class CohortFolder:
    """A cohort's folder.

    Raises
    ------
    UsageError
        it cannot be made or written, or holds the cohort of another key
    """

    def __init__(self, root: Path, key_name: str) -> None:
        self._root = root
        self._key_name = key_name
        try:
            for name in (HYPERIMAGES, RECORDS):
                (root / name).mkdir(parents=True, exist_ok=True)
            for left in root.rglob(UNFINISHED):
                left.unlink()
        except OSError as error:
            raise UsageError(
                f"--out {root}: {error.strerror}; needed: a folder that can be made and written"
            ) from error
        for study, record in self._records():
            if record.get("key") != key_name:
                raise UsageError(
                    f"--out {root} holds study {study} under another site key: one patient would have two names. Needed: "
                    "an empty folder, or the key that it was made with"
                )

    def write(self, name: str, data: bytes) -> str:
        """Write a file as a whole and return its SHA-256.

        Raises
        ------
        TemporaryFailureError
            the disk is full or fails; what is complete stays, and the next call goes on from there
        """
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        except OSError as error:
            raise TemporaryFailureError(
                f"--out {self._root}: {error.strerror}; mend it and call again: it goes on"
            ) from error
        return hashlib.sha256(data).hexdigest()

    def write_record(self, record: Record) -> None:
        """Write what is known of a study; from then on it is not made again."""
        record = {"schema": STUDY_SCHEMA, "key": self._key_name, **record}
        self.write(f"{RECORDS}/{record['study']}.json", (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())

    def record(self, study: str, fingerprint: str | None) -> Record | None:
        """Return what is known of a study, if it was made of the same and its files are whole.

        ``fingerprint``: what it would be made of; None where that is not there any more.
        """
        found = self._read(self._root / RECORDS / f"{study}.json")
        if found is None or (fingerprint is not None and found.get("fingerprint") != fingerprint):
            return None
        return found if self._whole(found) else None

    def others(self, studies: frozenset[str]) -> list[str]:
        """Return the studies in the folder that are not among these."""
        return sorted(study for study, _ in self._records() if study not in studies)

    def clear_dicom(self, study: str) -> None:
        """Remove the copies of a study that is made anew, so that none is left of a series that has gone."""
        for stale in (self._root / DICOM / study).glob("*.dcm"):
            stale.unlink()

    def forget_manifest(self) -> None:
        """Remove the manifest: from now on, until the end, this is no whole cohort."""
        (self._root / MANIFEST_NAME).unlink(missing_ok=True)

    def _records(self) -> Iterator[tuple[str, Record]]:
        for path in sorted((self._root / RECORDS).glob("*.json")):
            yield path.stem, self._read(path) or {}

    def _read(self, path: Path) -> Record | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("schema") == STUDY_SCHEMA else None

    def _whole(self, record: Mapping[str, Any]) -> bool:
        try:
            return all(
                hashlib.sha256((self._root / name).read_bytes()).hexdigest() == digest
                for name, digest in record["files"].items()
            )
        except (OSError, KeyError):
            return False
