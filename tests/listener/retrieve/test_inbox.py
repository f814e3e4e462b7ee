"""What comes from a source: how its end is noted, and that it is of the study and series that were asked about."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from egfr_dls.settings_sections import Source
from egfr_dls.spool import AssociationEnded
from egfr_dls.study import ReceivedInstance
from listener.retrieve.inbox import NOT_ASKED_FOR, Inbox
from listener.retrieve.plan import Request
from listener.storage.facts import StoreCommand
from listener.storage.reception import Reception
from tests.builders import CT_SERIES_UID, STUDY_UID, ct_slices
from tests.listener.nodes import raw_data_set
from tests.listener.storage.test_reception import COMMAND, DATA, UID, RecordingSpool

SOURCE = Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


class Bench:
    """An inbox that expects the first CT slice, over a spool that records."""

    def __init__(self, study: str = STUDY_UID, series: str = CT_SERIES_UID) -> None:
        self.spool = RecordingSpool(free=1 << 40)
        self.inbox = Inbox(Reception(self.spool, 0), SOURCE, "EGFR_DLS", STUDY_UID)
        self.inbox.expect(Request(series, "CT", frozenset({UID}), whole=True), study)

    def take(self, command: StoreCommand = COMMAND, data: Sequence[bytes] = (DATA[:100], DATA[100:])) -> int:
        return self.inbox.take(command, data)

    @property
    def received(self) -> list[str]:
        return [e.sop_instance_uid for e, _, _ in self.spool.kept if isinstance(e, ReceivedInstance)]

    @property
    def ends(self) -> list[tuple[str, bool]]:
        return [(e.association_id, e.released) for e, _, _ in self.spool.kept if isinstance(e, AssociationEnded)]


@pytest.mark.parametrize("whole", [True, False])
def test_its_end_is_that_of_an_association_in_order_only_where_all_came(*, whole: bool) -> None:
    """Else the study would be taken for whole."""
    bench = Bench()
    assert bench.take() == 0
    bench.inbox.close(whole=whole)
    assert bench.received == [UID]
    assert bench.ends == [(bench.inbox.association_id, whole)]


@pytest.mark.parametrize("whole", [True, False])
def test_of_nothing_there_is_no_end(*, whole: bool) -> None:
    bench = Bench()
    bench.inbox.close(whole=whole)
    assert bench.spool.kept == []


@pytest.mark.parametrize(("study", "series"), [("1.9", CT_SERIES_UID), (STUDY_UID, "1.9")], ids=["study", "series"])
def test_what_says_that_it_is_of_another_study_or_series_is_not_kept(study: str, series: str) -> None:
    """The UID was asked for, and the data set belongs elsewhere: a source that lists wrongly, or mixes patients up."""
    bench = Bench(study, series)
    assert bench.take() == NOT_ASKED_FOR
    bench.inbox.close(whole=True)
    assert bench.spool.kept == []
    assert bench.inbox.taken == set()


def test_nor_what_nobody_asked_for() -> None:
    bench, other = Bench(), ct_slices()[1]
    uid = str(other.SOPInstanceUID)
    command = StoreCommand(COMMAND.sop_class_uid, uid, COMMAND.sop_class_uid, COMMAND.transfer_syntax_uid)
    assert bench.take(command, [raw_data_set(other)]) == NOT_ASKED_FOR
    assert bench.spool.kept == []
