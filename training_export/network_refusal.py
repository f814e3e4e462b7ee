"""Why a network file is not taken: a reason from a fixed list, and a sentence that says what was found and needed."""

from __future__ import annotations

from enum import StrEnum

from egfr_dls.errors import EgfrDlsError, ExitCode


class Reason(StrEnum):
    """What is wrong with a file (docs/import.md has a line for each)."""

    FILE_UNREADABLE = "FILE_UNREADABLE"  # damaged, or no network file at all
    FILE_UNSAFE = "FILE_UNSAFE"  # holds code, a pickle, or leads to other files
    NOT_SUPPORTED = "NOT_SUPPORTED"  # a layer, an option or an operator that would have to be guessed
    WEIGHTS_DISAGREE = "WEIGHTS_DISAGREE"  # the weights are not those of the architecture
    NUMBERS_UNUSABLE = "NUMBERS_UNUSABLE"  # NaN, or an output that is no probability
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"  # larger, deeper or slower than any network of this kind
    REFERENCE_DIFFERS = "REFERENCE_DIFFERS"  # the scores are not those that the user expects


class NetworkRefusedError(EgfrDlsError):
    """This file does not become a model package as it is."""

    exit_code = ExitCode.REFUSED
    kind = "refused"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
