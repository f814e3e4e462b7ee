"""The places of open associations, over threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from listener.places import Places
from listener.status import Rejection

SCANNER, PACS = ("SCANNER", "10.0.0.1"), ("PACS", "10.0.0.2")


def test_a_peer_has_its_share_and_all_together_theirs() -> None:
    places = Places(in_all=3, of_one_peer=2)
    assert [places.take(name, SCANNER) for name in "ab"] == [None, None]
    assert places.take("c", SCANNER) is Rejection.TOO_MANY_OF_PEER
    assert places.take("d", PACS) is None
    assert places.take("e", PACS) is Rejection.TOO_MANY


def test_a_place_is_given_back_once() -> None:
    places = Places(in_all=1, of_one_peer=1)
    places.take("a", SCANNER)
    places.give_back("a")
    assert places.take("b", PACS) is None
    places.give_back("a")
    assert places.take("c", SCANNER) is Rejection.TOO_MANY


def test_an_address_is_part_of_the_peer() -> None:
    places = Places(in_all=4, of_one_peer=1)
    places.take("a", ("SCANNER", "10.0.0.1"))
    assert places.take("b", ("SCANNER", "10.0.0.2")) is None


def test_forked_processes_count_together() -> None:
    places = Places(in_all=5, of_one_peer=3)
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def take(name: str) -> None:
        results.put(places.take(name, SCANNER))

    processes = [context.Process(target=take, args=(name,)) for name in "abcdef"]
    for process in processes:
        process.start()
    found = [results.get(timeout=20) for _ in processes]
    for process in processes:
        process.join()
    assert found.count(None) == 3
    assert found.count(Rejection.TOO_MANY_OF_PEER) == 3
    assert places.take("g", SCANNER) is Rejection.TOO_MANY_OF_PEER


def test_threads_never_take_a_place_twice() -> None:
    places = Places(in_all=16, of_one_peer=16)

    def come_and_go(number: int) -> bool:
        taken = places.take(str(number), SCANNER) is None
        if taken and number % 2:
            places.give_back(str(number))
        return taken

    with ThreadPoolExecutor(8) as pool:
        kept = [n for n, taken in enumerate(pool.map(come_and_go, range(200))) if taken and not n % 2]
    assert len(kept) == 16
    assert places.take("one more", PACS) is Rejection.TOO_MANY


def test_a_process_that_dies_with_the_lock_blocks_nobody() -> None:
    """The others give their places back, and drain."""
    places = Places(in_all=2, of_one_peer=2)
    places.take("a", SCANNER)

    class Deadly:
        def __len__(self) -> int:
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

    def die() -> None:
        places._table = Deadly()  # type: ignore[assignment]  # looked at with the lock held
        places.take("b", SCANNER)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    giving_back = threading.Thread(target=places.give_back, args=("a",), daemon=True)
    giving_back.start()
    giving_back.join(5)
    assert not giving_back.is_alive()
    assert [places.take(name, PACS) for name in "cd"] == [None, None]
