"""What becomes of a study whose instances come over the network."""

from __future__ import annotations

import io
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    generate_uid,
)

from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import instances, studies
from egfr_dls.study import StudyState
from tests.builders import STUDY_UID, ct_slices, petct_study, secondary_capture
from tests.listener.nodes import Node, node_settings, running, until


def test_a_study_is_complete_after_its_release_and_has_one_job(node: Node) -> None:
    assert set(node.send(petct_study())) == {0}
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    assert jobs_of(node) == [("infer", '{"biomarker": "pet_ct_egfr", "forced": null}')]


def jobs_of(node: Node) -> list[tuple[str, str]]:
    with node.store.ledger.read() as tx:
        return [(job.kind, job.payload) for job in studies.jobs_of(tx, STUDY_UID)]


def test_an_open_association_holds_its_study_back(node: Node) -> None:
    """The sender pauses between CT and PT, and again before its release: one job, of the whole."""
    study = petct_study()
    assoc = node.associate(study)
    for ds in study:
        assert assoc.send_c_store(ds).Status == 0
    until(lambda: len(node.indexed()) == len(study), "indexed")
    stepped(node)
    assert node.state(STUDY_UID) is StudyState.RECEIVING
    assoc.release()
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")


def stepped(node: Node) -> None:
    """Wait until the indexer has made two more turns."""
    for calling in ("SCANNER", "PACS"):
        marker = secondary_capture(StudyInstanceUID=generate_uid(), SOPInstanceUID=generate_uid())
        node.send([marker], calling)
        until(lambda uid=marker.StudyInstanceUID: node.state(uid) is StudyState.NOT_APPLICABLE, "turn of the indexer")


def test_a_sender_that_dies_half_way_gets_no_result_of_the_part(node: Node) -> None:
    """Pair present, last association aborted: it waits; the whole, sent again, completes it with one job."""
    study = petct_study()
    assoc = node.associate(study)
    for ds in (*study[:8], *study[8:12]):
        assert assoc.send_c_store(ds).Status == 0
    assoc.abort()
    until(lambda: len(node.indexed()) == 12, "indexed")
    stepped(node)
    assert node.state(STUDY_UID) is StudyState.RECEIVING
    assert set(node.send(study)) == {0}
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    assert len(jobs_of(node)) == 1
    assert len(node.indexed()) == 16 + 2  # and two markers


def test_a_sender_that_never_comes_back_is_decided_at_the_force_time(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, study={"quiet_seconds": 0, "force_seconds": 1})) as node:
        study = petct_study()
        assoc = node.associate(study)
        for ds in study:
            assoc.send_c_store(ds)
        assoc.abort()
        until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "forced")
        assert jobs_of(node) == [("infer", '{"biomarker": "pet_ct_egfr", "forced": "refuse"}')]


def test_the_same_study_twice_is_nothing_new(node: Node) -> None:
    study = petct_study()
    node.send(study)
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    node.send(study)
    stepped(node)
    assert node.state(STUDY_UID) is StudyState.COMPLETE
    assert len(jobs_of(node)) == 1
    assert len(node.indexed()) == 16 + 2


def test_an_other_content_under_a_known_uid_is_kept_and_flags_the_study(node: Node) -> None:
    study = petct_study()
    node.send(study)
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    changed = deepcopy(study[0])
    changed.PixelData = bytes(len(changed.PixelData))
    assert node.send([changed]) == [0]
    until(lambda: conflicts(node), "flagged")
    with node.store.ledger.read() as tx:
        assert instances.count(tx, STUDY_UID) == 17
        refs = instances.locations(tx, STUDY_UID)
        row = studies.find(tx, STUDY_UID)
    assert row.conflict
    assert len(refs) == 16
    assert changed.PixelData not in {dcmread(io.BytesIO(node.store.spool.read(ref))).PixelData for ref in refs.values()}
    assert node.state(STUDY_UID) is StudyState.COMPLETE, "the first content counts: nothing to analyse again"
    assert len(jobs_of(node)) == 1


def conflicts(node: Node) -> bool:
    with node.store.ledger.read() as tx:
        return bool(studies.find(tx, STUDY_UID).conflict)


def test_two_series_with_equal_description_and_numbers_are_both_held(node: Node) -> None:
    one = ct_slices(SeriesDescription="SAME", SeriesNumber=2)
    other = ct_slices(series_uid="1.2.826.0.1.3680043.10.1.5", SeriesDescription="SAME", SeriesNumber=2)
    assert set(node.send(one + other)) == {0}
    until(lambda: len(node.indexed()) == 16, "all held")


def test_an_instance_after_the_end_reopens_the_study(node: Node) -> None:
    study = petct_study()
    node.send(study[:-1])
    until(lambda: node.state(STUDY_UID) is StudyState.COMPLETE, "complete")
    node.send(study[-1:])
    until(lambda: len(jobs_of(node)) == 2, "a second job, of the whole")
    with node.store.ledger.read() as tx:
        assert [job.state for job in studies.jobs_of(tx, STUDY_UID)] == ["cancelled", "ready"]


def test_a_ledger_that_fails_does_not_stop_the_receiver(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise of 0000H is the spool's; the indexer tries again."""
    with monkeypatch.context() as broken:
        broken.setattr(instances, "watermarks", unavailable)
        assert node.send(ct_slices()[:2]) == [0, 0]
        until(lambda: node.logged("index_failed"), "the trouble is logged")
        assert node.indexed() == []
    until(lambda: len(node.indexed()) == 2, "indexed once the ledger is back")


def unavailable(_tx: object) -> dict[str, int]:
    raise TemporaryFailureError("the ledger's database is locked, full or failing")
