"""Why a study is refused for how it was received, whatever its images say: the sentences, pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from pydicom.dataset import Dataset

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from inference.read.header import text
from inference.read.series import group_series
from inference.select import ROI_CLASSES


def incomplete(datasets: Sequence[Dataset], in_doubt: Sequence[tuple[str, str]]) -> StudyRefusedError:
    """Refuse a study of which a transfer broke off.

    Parameters
    ----------
    in_doubt
        modality and SeriesInstanceUID of the series that it brought
    """
    counts = ", ".join(f"{s.modality} {len(s.datasets)}" for s in group_series(datasets))
    named = " and ".join(f"{modality} series {uid}" for modality, uid in in_doubt) or "the study"
    return StudyRefusedError(
        RefusalCode.STUDY_INCOMPLETE,
        f"the transfer of {named} broke off (no A-RELEASE), and nothing of it came again in an association that ended in "
        f"order within [study] force_seconds; received: {counts}. "
        f"Needed: send {named} again, or `egfr-dls studies force` to score what is there.",
    )


def held_elsewhere(held: Mapping[str, Sequence[str]], count: int) -> StudyRefusedError:
    """Refuse a study whose images bear SOP Instance UIDs of another's.

    Parameters
    ----------
    held
        those UIDs, by the study that had them first
    count
        instances of the refused study
    """
    whose = "; ".join(f"study {study} holds {len(uids)}, as {uids[0]}" for study, uids in held.items())
    return StudyRefusedError(
        RefusalCode.INSTANCE_UID_CONFLICT,
        f"of {count} instances {sum(map(len, held.values()))} came under a SOPInstanceUID (0008,0018) under which another "
        f"study holds another content: {whose}. Needed: SOP Instance UIDs of their own; or, if the study was moved and is "
        "to be scored here, `egfr-dls studies force`.",
    )


def too_late(datasets: Sequence[Dataset], released: date, revision: int) -> StudyRefusedError:
    """Refuse regions that came when the images had been given up.

    Parameters
    ----------
    released
        when that was
    revision
        the number of the result that stands
    """
    regions = sorted(
        f"{text(ds, 'Modality')} {text(ds, 'SOPInstanceUID')}"
        for ds in datasets
        if text(ds, "SOPClassUID") in ROI_CLASSES
    )
    return StudyRefusedError(
        RefusalCode.ROI_TOO_LATE,
        f"{', '.join(regions)} came after the images had been given up on {released.isoformat()} ([storage] retention_days) "
        f"and cannot be scored. The result of report {revision} stands. Needed: send PET and CT again; the study is then "
        "scored with the region.",
    )
