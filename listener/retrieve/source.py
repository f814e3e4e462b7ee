"""What a source is to those who ask it, whatever its transport: what it is asked, what can go wrong, when it is broken off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, TypeAlias

from pydicom import Dataset
from pydicom.uid import (
    JPEG2000,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    KeyObjectSelectionDocumentStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    RTStructureSetStorage,
    SegmentationStorage,
)

from egfr_dls.errors import EgfrDlsError
from listener.retrieve.plan import Request

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0  # between two messages of a source
LOOK_SECONDS = 0.2  # of the watchdog

# (0008,0060) -> what is taken. Classes that no biomarker reads are taken, too: they are refused by their name.
CLASSES: Final[dict[str, tuple[str, ...]]] = {
    "PT": (
        PositronEmissionTomographyImageStorage, EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage,
    ),
    "CT": (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage),
    "SEG": (SegmentationStorage,),
    "RTSTRUCT": (RTStructureSetStorage,),
}  # fmt: skip
# What we take of our own: reports, in the class that their destination took, and the notes that withdraw them
OWN_CLASSES: Final = (
    Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, KeyObjectSelectionDocumentStorage,
)  # fmt: skip
TRANSFER_SYNTAXES: Final = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1,
    JPEGLossless, JPEGLSLossless, JPEG2000Lossless, JPEGLSNearLossless, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit,
)  # fmt: skip

Match: TypeAlias = Mapping[str, str]  # keyword -> value, "" where there is none: what was asked for, of one match


class SourceError(EgfrDlsError):
    """A source did not give what it was asked for.

    Parameters
    ----------
    reason
        its name in the ledger and in log events, never a text of the source
    again
        whether it is worth asking later
    """

    kind = "temporary"

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


STOPPED: Final = SourceError("STOPPED")


class Dialogue(Protocol):
    """What is said to one source about one study."""

    @property
    def brings(self) -> bool:
        """Whether what is fetched comes into the inbox, not by the listener's own port."""

    def matches(self, wanted: Dataset, limit: int) -> list[Match]:
        """Return the matches of a query; those of another study than the one asked for are left out.

        Parameters
        ----------
        wanted
            the identifier (``query.keys``): what it matches, and empty what it asks for
        limit
            of matches

        Raises
        ------
        SourceError
            more than ``limit``, or no whole answer
        """

    def fetch(self, requests: Sequence[Request], study_instance_uid: str) -> None:
        """Have the source send what is requested of a study; returns when it says that it has.

        Raises
        ------
        SourceError
            it offers no way, does not give all, or goes over a limit
        """


def of_study(found: Sequence[Match], wanted: Dataset) -> list[Match]:
    """Leave out what is of another study than the one that was asked for."""
    study = str(wanted.get("StudyInstanceUID") or "")
    return [match for match in found if not study or (match.get("StudyInstanceUID") or study) == study]


@contextmanager
def watched(abort: Callable[[SourceError], None], seconds: float, stop: threading.Event) -> Iterator[None]:
    """Call ``abort``, again and again, from when ``stop`` is set or the time is over until the block ends."""
    over = threading.Event()
    watchdog = threading.Thread(target=_watch, args=(abort, seconds, stop, over), name="source-watchdog")
    watchdog.start()
    try:
        yield
    finally:
        over.set()
        watchdog.join()


def _watch(abort: Callable[[SourceError], None], seconds: float, stop: threading.Event, over: threading.Event) -> None:
    deadline = time.monotonic() + seconds
    while not over.wait(LOOK_SECONDS):
        if stop.is_set():
            abort(STOPPED)
        elif time.monotonic() >= deadline:
            abort(SourceError("TIME_LIMIT"))
