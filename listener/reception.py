"""What happens to one received instance, whatever library took it off the wire: check, make durable, answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from egfr_dls.spool import AssociationReleased, Spool, SpoolWriteError
from egfr_dls.study import ReceivedInstance
from egfr_dls.telemetry import error_fields, get_logger
from listener.association import Accepted
from listener.status import FAULTS, SUCCESS, Answer, Fault, InstanceRefusedError
from listener.transfer import InstanceFacts, StoreCommand, read_facts


def utc_now() -> datetime:
    """Return the clock's time, UTC."""
    return datetime.now(UTC)


class Reception:
    """Turns received bytes into durable records of the spool. Every method may be called from any thread.

    ``ring`` is called when an association was released: there is something whole to index.
    """

    def __init__(
        self,
        spool: Spool,
        min_free_bytes: int,
        now: Callable[[], datetime] = utc_now,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._spool = spool
        self._min_free_bytes = min_free_bytes
        self._now = now
        self._ring = ring

    def store(self, accepted: Accepted, command: StoreCommand, meta: bytes, data: bytes) -> Answer:
        """Make one instance durable and return what the sender hears.

        Parameters
        ----------
        meta
            preamble, prefix and file meta information (PS3.10 7.1) that belong before the data set
        data
            the data set as it came
        """
        try:
            self._keep(accepted, command, meta, data)
        except InstanceRefusedError as error:
            return _refused(accepted, error.fault)
        except SpoolWriteError as error:
            return _refused(accepted, Fault.DISK_FULL, error)
        except Exception as error:  # noqa: BLE001  # the handler's border: a defect costs one instance, not the service
            return _refused(accepted, Fault.DEFECT, error)
        return SUCCESS

    def released(self, association_id: str) -> None:
        """Record that the sender ended an association in order, before it hears so.

        A disk that is full by now only costs the record: the association then counts as interrupted.
        """
        try:
            self._spool.append(AssociationReleased(association_id, self._now()), [])
        except SpoolWriteError as error:
            get_logger().warning("release_not_recorded", association=association_id, **error_fields(error))
        self._ring()

    def _keep(self, accepted: Accepted, command: StoreCommand, meta: bytes, data: bytes) -> None:
        facts = read_facts(data, command)
        if self._spool.free_bytes() < self._min_free_bytes:
            raise InstanceRefusedError(Fault.DISK_FLOOR)
        self._spool.append(_entry(accepted, command, facts, self._now()), [meta, data])


def _entry(accepted: Accepted, command: StoreCommand, facts: InstanceFacts, now: datetime) -> ReceivedInstance:
    return ReceivedInstance(
        sop_class_uid=facts.sop_class_uid,
        sop_instance_uid=facts.sop_instance_uid,
        study_instance_uid=facts.study_instance_uid,
        series_instance_uid=facts.series_instance_uid,
        modality=facts.modality,
        transfer_syntax_uid=command.transfer_syntax_uid,
        calling_ae_title=accepted.request.calling_ae_title,
        called_ae_title=accepted.request.called_ae_title,
        peer_address=accepted.request.peer_address,
        association_id=accepted.association_id,
        received_at=now,
    )


def _refused(accepted: Accepted, fault: Fault, error: Exception | None = None) -> Answer:
    answer = FAULTS[fault]
    log = get_logger().info if error is None else get_logger().error
    log(
        "instance_refused",
        association=accepted.association_id,
        status=f"{answer.status:04X}",
        reason=fault,
        **(error_fields(error) if error else {}),
    )
    return answer
