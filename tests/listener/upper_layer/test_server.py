"""Who may send, and for how long: associations of pynetdicom on 127.0.0.1, one scenario a test."""

from __future__ import annotations

import multiprocessing
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from egfr_dls.errors import ConfigurationError
from egfr_dls.study import StudyState
from listener.admission import Admission
from listener.upper_layer.connection import Node as ServerNode
from listener.upper_layer.server import Server, bind
from tests.builders import STUDY_UID, ct_slices
from tests.listener.nodes import LIMIT_SECONDS, Node, node_settings, running, until
from tests.listener.wire import Kept, listener_settings


def test_an_unknown_calling_ae_title_is_rejected(node: Node) -> None:
    assert node.rejected(calling="STRANGER") == (1, 1, 3)
    assert until(lambda: node.logged("association_rejected"), "event")[0]["reason"] == "calling_ae_title"


def test_a_known_ae_title_from_another_host_is_rejected(tmp_path: Path) -> None:
    elsewhere = node_settings(tmp_path, listener={"peers": [{"ae_title": "SCANNER", "host": "192.0.2.0/24"}]})
    with running(elsewhere) as node:
        assert node.rejected() == (1, 1, 3)


def test_a_wrong_called_ae_title_is_rejected(node: Node) -> None:
    assert node.rejected(called="SOMEONE_ELSE") == (1, 1, 7)


def test_without_the_check_any_called_ae_title_is_taken(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"check_called_ae_title": False})) as node:
        assoc = node.associate(called="SOMEONE_ELSE")
        assert assoc.is_established
        assoc.release()


def test_any_peer_may_call_where_the_settings_say_so_and_that_is_logged(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"peers": [], "accept_any_peer": True})) as node:
        assert node.send(ct_slices()[:1], calling="STRANGER") == [0]
        assert node.logged("any_peer_accepted")


def test_c_echo_is_answered_under_the_same_rules(node: Node) -> None:
    assoc = node.associate()
    assert assoc.send_c_echo().Status == 0
    assoc.release()
    assert node.rejected(calling="STRANGER") == (1, 1, 3)


def test_the_limits_per_peer_and_in_all(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"max_associations": 3, "max_associations_per_peer": 2})) as node:
        opened = [node.associate() for _ in range(2)]
        assert node.rejected() == (2, 3, 2)
        opened.append(node.associate(calling="PACS"))
        assert all(a.is_established for a in opened)
        assert node.rejected(calling="PACS") == (2, 3, 2)
        opened[0].release()
        again = node.associate()
        assert again.is_established, "a released association's place is free at once"
        for assoc in (*opened[1:], again):
            assoc.release()


def test_a_place_is_free_again_after_an_abort_and_after_a_lost_connection(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"max_associations": 1})) as node:
        node.associate().abort()
        second = until(lambda: established(node), "place free after an abort")
        second.dul.socket.close()
        until(lambda: established(node), "place free after a lost connection").release()


def established(node: Node) -> Any:
    assoc = node.associate()
    return assoc if assoc.is_established else None


def test_twenty_associations_at_once_from_two_peers_are_all_accepted(node: Node) -> None:
    ct = ct_slices()
    together = threading.Barrier(20)

    def one(n: int) -> list[int]:
        ds = deepcopy(ct[0])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n + 1}"
        together.wait()
        assoc = node.associate([ds], "SCANNER" if n % 2 else "PACS")
        assert assoc.is_established
        together.wait()
        status = assoc.send_c_store(ds).Status
        assoc.release()
        return status

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(20))) == [0] * 20
    until(lambda: len(node.indexed()) == 20, "all indexed")


def test_a_load_balancers_look_is_no_refusal_and_no_error(node: Node) -> None:
    """A connection that closes before its first byte leaves no line in the log."""
    with socket.create_connection(("127.0.0.1", node.port)):
        pass
    node.send(ct_slices()[:1])
    assert {e["event"] for e in node.events if e["log_level"] in ("warning", "error")} == set()


def test_a_caller_that_stalls_inside_a_pdu_is_hung_up_on(tmp_path: Path) -> None:
    with (
        running(node_settings(tmp_path, listener={"idle_seconds": 0.5, "max_associations": 1})) as node,
        socket.create_connection(("127.0.0.1", node.port)) as stalled,
    ):
        stalled.sendall(struct.pack(">BBI", 1, 0, 1000))
        stalled.settimeout(20)
        assert stalled.recv(1) == b""


def test_an_association_without_traffic_is_aborted_and_the_study_counts_as_interrupted(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"idle_seconds": 0.5})) as node:
        ct = ct_slices()[:1]
        assoc = node.associate(ct)
        assert assoc.send_c_store(ct[0]).Status == 0
        until(lambda: assoc.is_aborted, "aborted")
        until(lambda: node.state(STUDY_UID) is StudyState.NOT_APPLICABLE, "decided")


def test_a_policy_that_breaks_rejects(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails closed."""
    monkeypatch.setattr("listener.admission.PeerTable.knows", lambda *_: 1 / 0)
    assert node.rejected() == (2, 1, 1)


def test_draining_lets_open_associations_finish_and_accepts_no_new_ones(node: Node) -> None:
    ct = ct_slices()[:2]
    assoc = node.associate(ct)
    assert assoc.send_c_store(ct[0]).Status == 0
    node.stop.set()
    until(lambda: not reachable(node.port), "no longer listening")
    assert assoc.send_c_store(ct[1]).Status == 0
    assoc.release()
    assert until(lambda: node.logged("drained"), "drained")[0]["count"] == 0
    assert len(node.indexed()) == 2, "what was received is indexed before the end"


def test_draining_aborts_what_is_open_after_the_limit(tmp_path: Path) -> None:
    with running(node_settings(tmp_path, listener={"drain_seconds": 0.2})) as node:
        ct = ct_slices()[:1]
        assoc = node.associate(ct)
        assert assoc.send_c_store(ct[0]).Status == 0
        node.stop.set()
        until(lambda: assoc.is_aborted, "aborted")
        assert until(lambda: node.logged("drained"), "drained")[0]["count"] == 1
        assert len(node.indexed()) == 1


def test_draining_does_not_wait_for_callers_that_stall(tmp_path: Path) -> None:
    """One in the middle of its request, one that has said nothing: neither holds up the end, whatever the idle time."""
    with running(node_settings(tmp_path, listener={"drain_seconds": 0.2, "idle_seconds": 600})) as node:
        before = set(threading.enumerate())
        with (
            socket.create_connection(("127.0.0.1", node.port)) as half,
            socket.create_connection(("127.0.0.1", node.port)),
        ):
            half.sendall(struct.pack(">BBI", 1, 0, 1000))
            until(lambda: len(set(threading.enumerate()) - before) >= 2, "both are being served")
            node.stop.set()
            until(lambda: node.logged("drained"), "drained")
            until(
                lambda: not [t for t in set(threading.enumerate()) - before if not t.daemon],
                "no thread left that holds the exit",
            )


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_second_listener_on_the_same_root_does_not_start(node: Node) -> None:
    with pytest.raises(ConfigurationError, match="another listener"), running(node.settings):
        pass


def test_a_port_that_is_taken_is_a_configuration_error(node: Node, tmp_path: Path) -> None:
    taken = node_settings(tmp_path / "other", listener={"port": node.port})
    with pytest.raises(ConfigurationError, match=r"listener\.port"), running(taken):
        pass


def test_a_receiver_that_was_forked_knows_that_it_accepts() -> None:
    """A fork marks every thread that was made before as ended, also one that has not started."""
    settings = listener_settings()
    server = Server(bind(settings), ServerNode(settings, Admission(settings, lambda: 1 << 40, 0), Kept()))
    context = multiprocessing.get_context("fork")
    heard: Any = context.Queue()

    def receive() -> None:
        server.start()
        server.check()
        heard.put(server.drain(0))

    receiver = context.Process(target=receive)
    receiver.start()
    receiver.join(LIMIT_SECONDS)
    assert receiver.exitcode == 0
    assert heard.get(timeout=LIMIT_SECONDS) == 0
    server.drain(0)
