"""One dialogue with one source about one study: list, plan, fetch."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from egfr_dls.listed_report import NotFetched
from egfr_dls.settings_sections import Source
from listener.retrieve.dicomweb import web_dialogue
from listener.retrieve.dimse import dimse_dialogue
from listener.retrieve.inbox import Inbox
from listener.retrieve.plan import Request, plan
from listener.retrieve.priors import fetch_prior_reports
from listener.retrieve.query import listed_series
from listener.retrieve.source import SourceError
from listener.storage.reception import Reception

DIALOGUES = {"dimse": dimse_dialogue, "dicomweb": web_dialogue}


@dataclass(frozen=True)
class Lack:
    """What a study lacks: modalities, and the SOP Instance UIDs that are here; ``images``: it lacks some of its pair.

    ``patient_id`` is that of the images that are here, None where it is not known.
    """

    modalities: frozenset[str]
    here: frozenset[str]
    images: bool
    patient_id: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What was requested, what came from it on the same way (SOP Instance UIDs), and what went wrong.

    ``reports``: earlier reports of the patient as Part 10 files, by SOP Instance UID; ``left_out``: why others did not come.
    """

    requests: tuple[Request, ...] = ()
    taken: frozenset[str] = frozenset()
    failure: SourceError | None = None
    reports: Mapping[str, bytes] = field(default_factory=dict)
    left_out: Mapping[str, NotFetched] = field(default_factory=dict)

    @property
    def asked(self) -> frozenset[str]:
        """The SOP Instance UIDs that were requested."""
        return frozenset(uid for request in self.requests for uid in request.sop_instance_uids)


class Asker:
    """Asks sources in the name of this node.

    Parameters
    ----------
    ae_title
        ours, also where C-MOVE sends to
    stop
        breaks off what is under way when set
    """

    def __init__(self, ae_title: str, reception: Reception, stop: threading.Event) -> None:
        self._ae_title = ae_title
        self._reception = reception
        self._stop = stop

    def ask(self, source: Source, study_instance_uid: str, lack: Lack) -> Outcome:
        """Have a source send what it has of what a study lacks, and the patient's earlier reports."""
        inbox = Inbox(self._reception, source, self._ae_title, study_instance_uid, patient_id=lack.patient_id)
        requests: tuple[Request, ...] = ()
        failure: SourceError | None = None
        whole = False
        try:
            with DIALOGUES[source.transport](source, inbox, self._stop) as opened:
                listed = listed_series(opened, study_instance_uid, lack.modalities, source.max_instances)
                requests = plan(listed, lack.here)
                opened.fetch(requests, study_instance_uid)
                whole = True
                fetch_prior_reports(opened, inbox)
        except SourceError as error:
            failure = error
        finally:
            inbox.close(whole=whole or not lack.images)  # a region that did not come makes no study incomplete
        return Outcome(requests, frozenset(inbox.taken), failure, inbox.reports, inbox.left_out)
