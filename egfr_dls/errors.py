"""The class of an error says what happens next; its message says what a person does.

Every message states what was found, where (keyword, tag, UID) and what was needed. Messages may hold
UIDs and header values: they go to the command line, ``result.json``, the ledger and the report, never to logs.
"""

from __future__ import annotations

from enum import IntEnum

from egfr_dls.refusals import RefusalCode, Remark


class ExitCode(IntEnum):
    """What a command ends with (the operator's contract)."""

    DONE = 0
    DEFECT = 1
    USAGE = 2
    REFUSED = 3
    CONFIGURATION = 78


class EgfrDlsError(Exception):
    """Base of every error that the product raises on purpose."""

    exit_code: ExitCode = ExitCode.DEFECT
    kind: str = "defect"


class UsageError(EgfrDlsError):
    """Correct the command line: a path, a UID or an option is not what the command takes."""

    exit_code = ExitCode.USAGE
    kind = "usage"


class ConfigurationError(EgfrDlsError):
    """Correct the configuration or the model package; the service does not start with it."""

    exit_code = ExitCode.CONFIGURATION
    kind = "configuration"


class StudyRefusedError(EgfrDlsError):
    """This study cannot be scored as it is; the code says why and the message what is needed.

    Permanent: the study becomes REFUSED, a refusal report goes to PACS, and it is never retried by itself.
    """

    exit_code = ExitCode.REFUSED
    kind = "refused"

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def remark(self) -> Remark:
        """The refusal as a value for findings and reports."""
        return Remark(self.code.value, self.message)


class StudyReleasedError(EgfrDlsError):
    """Send the study again: its instances were given up by retention, so there is nothing to work on."""

    exit_code = ExitCode.REFUSED
    kind = "refused"


class ActionRefusedError(EgfrDlsError):
    """Do something else first: the study is as it is, and what the operator asks for cannot be done with it.

    ``code`` names the reason for scripts.
    """

    exit_code = ExitCode.REFUSED
    kind = "refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TemporaryFailureError(EgfrDlsError):
    """May go away by itself (peer, spool, engine, database): the stage tries again with back-off."""

    kind = "temporary"
