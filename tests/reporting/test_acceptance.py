"""A destination gets the variant that it takes; when it takes something else, what waits there is built anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SegmentationStorage,
)
from sqlalchemy import select

from egfr_dls.ledger import Ledger, Tx, acceptance, deliveries, results, studies
from egfr_dls.ledger.results import BuiltObject
from egfr_dls.ledger.schema import delivery, job
from egfr_dls.settings_sections import Destination
from reporting.acceptance import SR_CLASS_NAMES, adapt, is_news, variant_of
from reporting.variants import PROBED_CLASSES, SR_CLASSES, Variant, choose_variant

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


def waiting(tx: Tx, **kinds: str) -> None:
    """Queue objects of one report, SOP class by kind, for the destination."""
    studies.ensure(tx, "1", b"key", NOW)
    row = results.add_findings(tx, "1", "pet_ct_egfr", "d", "{}", "e", NOW)
    assert row is not None
    built = [BuiltObject(f"1.{kind}", "9", uid, "7", kind, "sha", NOW) for kind, uid in kinds.items()]
    results.add_objects(tx, row, "1", built)
    deliveries.queue(tx, [made.sop_instance_uid for made in built], "pacs", NOW)


def anew(tx: Tx) -> list[str]:
    """Return the studies whose reports are to be built."""
    return list(tx.scalars(select(job.c.study_instance_uid).where(job.c.kind == "report")))


def owed(tx: Tx) -> set[str]:
    return set(tx.scalars(select(delivery.c.sop_instance_uid)))


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
    assert variant_of(tx, pacs(sr_class=sr_class), NOW) == expected


BEST = {"roi": SegmentationStorage, "report": SR_CLASSES[0], "pages": MultiFrameTrueColorSecondaryCaptureImageStorage}


@pytest.mark.parametrize("missing", BEST.values(), ids=BEST)
def test_what_waits_and_is_not_taken_is_built_anew(tx: Tx, missing: str) -> None:
    waiting(tx, **BEST)
    accepted = EVERYTHING - {missing}
    assert is_news(tx, pacs(), accepted, BEST.values(), NOW)
    assert adapt(tx, pacs(), accepted, NOW) == 1
    assert anew(tx) == ["1"]
    assert owed(tx) == set()
    assert variant_of(tx, pacs(), NOW) == choose_variant(accepted) != Variant()
    assert not is_news(tx, pacs(), accepted, (), NOW)


@pytest.mark.parametrize(
    "accepted",
    [EVERYTHING, EVERYTHING - {SR_CLASSES[1]}, {SegmentationStorage}, {SR_CLASSES[0], SegmentationStorage}],
    ids=["all", "same choice", "no report", "no pages at all"],
)
def test_nothing_is_built_anew_where_nothing_else_would_come_of_it(tx: Tx, accepted: frozenset[str]) -> None:
    waiting(tx, **BEST)
    assert adapt(tx, pacs(), accepted, NOW) == 0
    assert anew(tx) == []
    assert owed(tx) == {"1.roi", "1.report", "1.pages"}
    assert not is_news(tx, pacs(), accepted, BEST.values(), NOW)


def test_what_was_queued_and_is_still_taken_goes_as_it_is(tx: Tx) -> None:
    """A destination that learns a better class gets the next report in it."""
    waiting(tx, report=SR_CLASSES[1])
    assert adapt(tx, pacs(), EVERYTHING, NOW) == 0
    assert owed(tx) == {"1.report"}


def test_what_a_person_queued_again_is_built_as_what_is_taken_now(tx: Tx) -> None:
    """The destination is known already, and what is due does not fit it."""
    accepted = EVERYTHING - {SR_CLASSES[0]}
    acceptance.record(tx, "pacs", accepted, NOW)
    waiting(tx, report=SR_CLASSES[0])
    assert is_news(tx, pacs(), accepted, [SR_CLASSES[0]], NOW)
    assert adapt(tx, pacs(), accepted, NOW + 1) == 1
