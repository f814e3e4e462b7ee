"""Who accepted which proposed region is kept; the first word stands."""

from __future__ import annotations

from egfr_dls.ledger import Tx, confirmations, studies
from egfr_dls.study import Confirmation

NOW = 1_700_000_000.0


def test_what_was_confirmed_is_read_back_by_study(tx: Tx) -> None:
    for study in ("1", "2"):
        studies.ensure(tx, study, b"key", NOW)
    confirmations.confirm(tx, "1", {"2.25.2": "Lesion 2", "2.25.1": "Lesion 1"}, "Rita", NOW)
    confirmations.confirm(tx, "1", {"2.25.1": "Lesion 1"}, "Somebody", NOW + 60)
    assert confirmations.of_study(tx, "1") == (
        Confirmation("2.25.1", "Lesion 1", "Rita", "2023-11-14T22:13:20+00:00"),
        Confirmation("2.25.2", "Lesion 2", "Rita", "2023-11-14T22:13:20+00:00"),
    )
    assert confirmations.of_study(tx, "2") == ()
