"""A destination that is called by DIMSE: C-STORE, storage commitment and C-FIND (PS3.4 Annexes B, J, C)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes its SOP classes at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
)

from egfr_dls.ledger.deliveries import DueDelivery
from egfr_dls.ledger.proofs import DueProof
from egfr_dls.outgoing import let_reader_rest
from egfr_dls.settings_sections import Destination
from reporting import commitment
from reporting.association import LITTLE_ENDIAN, Caller
from reporting.delivery_status import NO_ANSWER, rule_for
from reporting.transport import Answered, Unreachable
from reporting.variants import PROBED_CLASSES

_config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as it lies on the disk: not decoded, not encoded again
_PENDING = frozenset({0xFF00, 0xFF01})  # of a C-FIND-RSP (PS3.4 C.4.1.1.4)
_PROOFS = (StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind)


class DimseTransport:
    """Calls one destination.

    Parameters
    ----------
    ae_title
        ours
    hear
        takes the report that comes on the association that asked, and returns the status of the answer to it
    """

    def __init__(self, destination: Destination, ae_title: str, hear: Callable[[Dataset], int]) -> None:
        self._caller = Caller(destination, ae_title)
        self._hear = hear

    def call(self, due: Sequence[DueDelivery]) -> StoringAssociation | Unreachable:
        """Propose each class of these objects, each syntax in a context of its own: the acceptor picks none for us.

        What else a report may be is proposed too: the answer decides what is built for the destination.
        """
        classes = dict.fromkeys((*(one.sop_class_uid for one in due), *PROBED_CLASSES))
        contexts = [(sop_class, [syntax]) for sop_class in classes for syntax in LITTLE_ENDIAN]
        opened = self._caller.open([*contexts, *((proof, LITTLE_ENDIAN) for proof in _PROOFS)])
        return opened if isinstance(opened, Unreachable) else StoringAssociation(opened)

    def call_to_prove(self) -> ProvingAssociation | Unreachable:
        """Propose storage commitment, as its SCU, and the query."""

        def on_report(event: evt.Event) -> tuple[int, None]:
            return self._hear(event.event_information), None

        handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
        opened = self._caller.open([(proof, LITTLE_ENDIAN) for proof in _PROOFS], handlers)
        return opened if isinstance(opened, Unreachable) else ProvingAssociation(opened)


class StoringAssociation:
    """An association on which objects are stored."""

    def __init__(self, assoc: Association) -> None:
        self._assoc = assoc

    @property
    def is_open(self) -> bool:
        """Whether it is established still."""
        return bool(self._assoc.is_established)

    @property
    def offers_proof(self) -> bool:
        """Whether storage commitment or the query was accepted."""
        return any(_accepts(self._assoc, proof) for proof in _PROOFS)

    @property
    def accepted(self) -> frozenset[str]:
        """The classes of results for which a context was accepted."""
        return frozenset(str(c.abstract_syntax) for c in self._assoc.accepted_contexts) & frozenset(PROBED_CLASSES)

    def accepts(self, due: DueDelivery) -> bool:
        """Whether a context for the object's class was accepted."""
        return _accepts(self._assoc, due.sop_class_uid)

    def store(self, due: DueDelivery, path: Path) -> Answered:
        """Send as kept, or encoded anew for a peer that takes Implicit VR only."""
        syntaxes = {
            c.transfer_syntax[0] for c in self._assoc.accepted_contexts if c.abstract_syntax == due.sop_class_uid
        }
        content = path if due.transfer_syntax_uid in syntaxes else dcmread(path)
        with path.open("rb"):  # what cannot be opened costs itself only
            pass
        let_reader_rest(self._assoc)
        try:
            answer = self._assoc.send_c_store(content)
        except RuntimeError:  # pynetdicom: the association ended between two objects
            return Answered(NO_ANSWER)
        except OSError:  # half a request is out
            self._assoc.abort()
            raise
        if "Status" not in answer:
            return Answered(NO_ANSWER)
        return Answered(rule_for(int(answer.Status)), int(answer.Status))

    def close(self) -> None:
        """Release it."""
        _release(self._assoc)


class ProvingAssociation:
    """An association on which proofs are asked for; a report may come on it while it is open."""

    def __init__(self, assoc: Association) -> None:
        self._assoc = assoc

    @property
    def is_open(self) -> bool:
        """Whether it is established still."""
        return bool(self._assoc.is_established)

    @property
    def commits(self) -> bool:
        """Whether storage commitment was accepted."""
        return _accepts(self._assoc, StorageCommitmentPushModel)

    @property
    def finds(self) -> bool:
        """Whether the query was accepted."""
        return _accepts(self._assoc, StudyRootQueryRetrieveInformationModelFind)

    def ask(self, transaction_uid: str, about: Collection[DueProof]) -> int | None:
        """Send an N-ACTION (PS3.4 J.3.2)."""
        answer = self._answer(
            lambda: self._assoc.send_n_action(
                commitment.request(transaction_uid, about),
                commitment.REQUEST_COMMITMENT,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )[0]
        )
        return None if answer is None else int(answer.Status)

    def is_there(self, one: DueProof) -> bool | None:
        """Send a C-FIND at IMAGE level, with all unique keys (PS3.4 C.4.1.2.1)."""
        keys = Dataset()
        keys.QueryRetrieveLevel = "IMAGE"
        keys.StudyInstanceUID, keys.SeriesInstanceUID = one.study_instance_uid, one.series_instance_uid
        keys.SOPInstanceUID = one.sop_instance_uid
        model = StudyRootQueryRetrieveInformationModelFind
        let_reader_rest(self._assoc)
        found, status = False, None
        try:
            for answer, match in self._assoc.send_c_find(keys, model):
                status = int(answer.Status) if "Status" in answer else None
                found = found or (status in _PENDING and match is not None and _is(match, one))
        except RuntimeError:  # pynetdicom: the association ended meanwhile
            return None
        return found if status == 0x0000 else None

    def close(self) -> None:
        """Release it."""
        _release(self._assoc)

    def _answer(self, send: Callable[[], Any]) -> Any | None:
        let_reader_rest(self._assoc)
        try:
            answer = send()
        except RuntimeError:  # pynetdicom: the association ended meanwhile
            return None
        return answer if "Status" in answer else None


def _accepts(assoc: Association, abstract_syntax: str) -> bool:
    return any(context.abstract_syntax == abstract_syntax for context in assoc.accepted_contexts)


def _release(assoc: Association) -> None:
    if assoc.is_established:
        assoc.release()


def _is(match: Dataset, one: DueProof) -> bool:
    """Whether a match is the object, and where it should be."""
    wanted = {
        "SOPInstanceUID": one.sop_instance_uid,
        "SeriesInstanceUID": one.series_instance_uid,
        "StudyInstanceUID": one.study_instance_uid,
    }
    return "SOPInstanceUID" in match and all(str(match.get(key) or uid) == uid for key, uid in wanted.items())
