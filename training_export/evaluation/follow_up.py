"""Time to progression or to the end of follow-up."""

from __future__ import annotations

from dataclasses import dataclass

from training_export.evaluation.estimates import Floats, Mask
from training_export.evaluation.patients import Patients


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Months to progression, or to the end of follow-up where ``event`` is false."""

    months: Floats
    event: Mask

    def __len__(self) -> int:
        return len(self.months)

    def select(self, kept: Mask) -> FollowUp:
        """Return some of the patients."""
        return FollowUp(self.months[kept], self.event[kept])


def follow_up_of(patients: Patients) -> FollowUp:
    """Return the follow-up of patients who all have one."""
    return FollowUp(patients.months, patients.progression == 1)
