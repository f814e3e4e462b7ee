"""Pseudonyms, UIDs and date shifts: functions of the site's secret, the same in every export and useless without it."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta

NAME_DIGITS = 16  # 64 bits: among 100,000 patients two share a name with a probability below 1e-9
LEAST_DAYS, MOST_DAYS = 30, 3650  # how far dates are moved into the past


@dataclass(frozen=True)
class CohortKey:
    """What turns identities into pseudonyms.

    It is derived from the site key, so that a pseudonym is not the name that the site's own logs give a study.
    """

    secret: bytes = field(repr=False)

    @staticmethod
    def of_site(site_key: bytes) -> CohortKey:
        """Return the key of a site's cohorts."""
        return CohortKey(hmac.digest(site_key, b"egfr-dls cohort 1", "sha256"))

    @property
    def name(self) -> str:
        """What tells two keys apart and says nothing of either."""
        return self._digest("key").hex()[:NAME_DIGITS]

    def patient(self, issuer: str, patient_id: str) -> str:
        """Return the pseudonym that belongs to a PatientID (0010,0020) of an issuer (0010,0021)."""
        return f"P{self._digest('patient', issuer, patient_id).hex()[:NAME_DIGITS]}"

    def study(self, study_instance_uid: str) -> str:
        """Return the pseudonym of a study; also its file names."""
        return f"S{self._digest('study', study_instance_uid).hex()[:NAME_DIGITS]}"

    def uid(self, uid: str) -> str:
        """Return the UID that takes the place of another, everywhere (PS3.15 E.1.1, action U; form of PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', uid)[:16], version=5).int}"

    def moved(self, day: date, patient: str) -> date:
        """Return the day as a patient's objects have it: all of one patient move by the same number of days."""
        return day - self._distance(patient)

    def fingerprint(self, *parts: str) -> str:
        """Return a digest that nobody else can compare with the originals."""
        return self._digest("fingerprint", *parts).hex()

    def _distance(self, patient: str) -> timedelta:
        span = MOST_DAYS - LEAST_DAYS + 1
        return timedelta(days=LEAST_DAYS + int.from_bytes(self._digest("days", patient)[:8]) % span)

    def _digest(self, *parts: str) -> bytes:
        text = "\n".join(f"{len(part)}:{part}" for part in parts)
        return hmac.digest(self.secret, text.encode(errors="surrogateescape"), hashlib.sha256)
