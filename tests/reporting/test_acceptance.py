"""A destination gets the variant that it takes; when it takes something else, what waits there is built anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage, SegmentationStorage
from sqlalchemy import select

from egfr_dls.ledger import Ledger, Tx, acceptance, deliveries, results, studies
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import delivery, job
from egfr_dls.settings import Destination
from reporting.acceptance import SR_CLASS_NAMES, adapt, variant_of
from reporting.variants import PROBED_CLASSES, SR_CLASSES, Variant

NOW = 1_700_000_000.0
EVERYTHING = frozenset(PROBED_CLASSES)


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with ledger.begin() as opened:
        yield opened
    ledger.close()


def pacs(**keys: object) -> Destination:
    return Destination.model_validate({"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, **keys})


def waiting(tx: Tx) -> None:
    """Queue one report for the destination."""
    studies.ensure(tx, "1", b"key", NOW)
    row = results.add_findings(tx, "1", "pet_ct_egfr", "d", "{}", "e", NOW)
    assert row is not None
    results.add_objects(tx, row, "1", [BuiltObject("1.report", "9", "8", "7", "report", "sha", NOW)])
    deliveries.queue(tx, ["1.report"], "pacs", NOW)


def anew(tx: Tx) -> list[str]:
    """Return the studies whose reports are to be built."""
    return list(tx.scalars(select(job.c.study_instance_uid).where(job.c.kind == "report")))


def is_owed(tx: Tx) -> bool:
    return tx.scalar(select(delivery.c.destination)) is not None


def test_a_site_names_the_classes_by_words() -> None:
    assert set(SR_CLASS_NAMES.values()) == set(SR_CLASSES)


@pytest.mark.parametrize(
    ("sr_class", "accepted", "expected"),
    [
        (None, None, Variant()),
        ("enhanced", None, Variant(EnhancedSRStorage)),
        (None, {ComprehensiveSRStorage}, Variant(ComprehensiveSRStorage, segmentation=False)),
        ("enhanced", EVERYTHING - {EnhancedSRStorage}, Variant()),
        ("comprehensive", {SegmentationStorage}, Variant(ComprehensiveSRStorage)),  # no report at all: as if not asked
    ],
)
def test_the_variant_follows_what_is_known(
    tx: Tx, sr_class: str | None, accepted: set[str] | None, expected: Variant
) -> None:
    if accepted is not None:
        acceptance.record(tx, "pacs", accepted, NOW)
    assert variant_of(tx, pacs(sr_class=sr_class)) == expected


def test_what_waits_is_built_anew_as_what_the_destination_takes(tx: Tx) -> None:
    waiting(tx)
    assert adapt(tx, pacs(), EVERYTHING - {SR_CLASSES[0]}, NOW) == 1
    assert anew(tx) == ["1"]
    assert not is_owed(tx)
    assert variant_of(tx, pacs()) == Variant(ComprehensiveSRStorage)


@pytest.mark.parametrize(
    "accepted",
    [EVERYTHING, EVERYTHING - {SR_CLASSES[1]}, {SegmentationStorage}],
    ids=["all", "same choice", "no report"],
)
def test_nothing_is_built_anew_where_nothing_else_would_come_of_it(tx: Tx, accepted: frozenset[str]) -> None:
    waiting(tx)
    assert adapt(tx, pacs(), accepted, NOW) == 0
    assert anew(tx) == []
    assert is_owed(tx)


def test_a_destination_that_goes_on_as_before_costs_no_write(tx: Tx) -> None:
    accepted = EVERYTHING - {SR_CLASSES[0]}
    acceptance.record(tx, "pacs", accepted, NOW)
    waiting(tx)
    assert adapt(tx, pacs(), accepted, NOW + 1) == 0
    assert is_owed(tx)


def test_a_destination_that_changes_back_is_followed(tx: Tx) -> None:
    waiting(tx)
    assert adapt(tx, pacs(), EVERYTHING - {SR_CLASSES[0]}, NOW) == 1
    deliveries.queue(tx, ["1.report"], "pacs", NOW)
    assert adapt(tx, pacs(), EVERYTHING, NOW + 1) == 1
    assert anew(tx) == ["1", "1"]
