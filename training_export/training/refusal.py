"""Why a network is not trained on data as they are: a reason from a fixed list, and a sentence that says what was needed."""

from __future__ import annotations

from enum import StrEnum

from egfr_dls.errors import EgfrDlsError, ExitCode


class Reason(StrEnum):
    """What is wrong (docs/training.md has a line for each)."""

    DATA_UNREADABLE = "DATA_UNREADABLE"  # a file is missing, damaged, or not of the layout
    SHAPE_WRONG = "SHAPE_WRONG"  # arrays that do not fit each other or the network
    NOT_FINITE = "NOT_FINITE"  # NaN or infinity among the pixels
    LABELS_CONTRADICT = "LABELS_CONTRADICT"  # one patient with two labels
    SLICE_TWICE = "SLICE_TWICE"  # one image under two patients
    ONE_CLASS = "ONE_CLASS"  # nothing to tell apart
    TOO_FEW_PATIENTS = "TOO_FEW_PATIENTS"  # of a class, for the splits that are asked for
    PATIENT_IN_TWO_SPLITS = "PATIENT_IN_TWO_SPLITS"
    WEIGHTS_UNSAFE = "WEIGHTS_UNSAFE"  # the file to start from holds code, or is no file of weights
    WEIGHTS_DISAGREE = "WEIGHTS_DISAGREE"  # its weights are not those of the network
    DIVERGED = "DIVERGED"  # the loss is no number any more


class TrainingRefusedError(EgfrDlsError):
    """No network comes of these data as they are."""

    exit_code = ExitCode.REFUSED
    kind = "refused"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
