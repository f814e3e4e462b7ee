"""What Prometheus scrapes: the durable state, read at each scrape, so that no restart resets it. Names begin with ``egfr_dls_``.

No label holds an AE title, an address, a UID or a study: states, kinds and the names of destinations only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from egfr_dls import PRODUCT_VERSION, spool_document
from egfr_dls.errors import TemporaryFailureError
from egfr_dls.ledger import Ledger, Tx, counts, destinations
from egfr_dls.ledger.counts import Counts
from egfr_dls.spool import SpoolIndex
from egfr_dls.telemetry import error_fields, get_logger

# metric, its help, its labels, and the query: one gauge for each row
COUNTED: tuple[tuple[str, str, tuple[str, ...], Callable[[Tx], Counts]], ...] = (
    ("studies", "Studies by state", ("state",), counts.studies),
    ("jobs", "Jobs by kind and state", ("kind", "state"), counts.jobs),
    ("deliveries", "Objects by destination and state of delivery", ("destination", "state"), counts.deliveries),
    ("associations", "Associations that brought something, by state", ("state",), counts.associations),
    ("commitments", "Storage commitment requests by state", ("state",), counts.commitments),
    (
        "asked_commitments",
        "Requests of ours, by destination and state",
        ("destination", "state"),
        counts.asked_commitments,
    ),
    ("deliveries_not_proven", "Objects stored without the proof wanted", ("destination",), counts.not_proven),
)


@dataclass(frozen=True)
class StateCollector(Collector):
    """Reads ledger and spool; ``egfr_dls_ledger_up`` is 0, and nothing else is told, while they cannot be read."""

    ledger: Ledger
    spool: SpoolIndex
    clock: Callable[[], float] = time.time

    def collect(self) -> Iterable[Metric]:
        """Return every metric as it is now."""
        yield InfoMetricFamily("egfr_dls", "The product", value={"version": PRODUCT_VERSION})
        try:
            with self.ledger.read() as tx:
                found = list(_of_ledger(tx, self.clock()))
            found += _of_spool(self.ledger, self.spool, self.clock())
        except (TemporaryFailureError, OSError) as error:
            get_logger().warning("metrics_unavailable", **error_fields(error))
            found = []
        yield _single("ledger_up", "Whether ledger and spool can be read", float(bool(found)))
        yield from found


def _of_ledger(tx: Tx, now: float) -> Iterator[Metric]:
    for name, help_text, labels, query in COUNTED:
        family = GaugeMetricFamily(f"egfr_dls_{name}", help_text, labels=labels)
        for values, count in sorted(query(tx).items()):
            family.add_metric(values, count)
        yield family
    yield _single("instances", "Instances that are kept", counts.instances(tx))
    yield _single("own_objects_returned", "Times that an own object came back", counts.own_objects_returned(tx))
    waiting = GaugeMetricFamily(
        "egfr_dls_queue_oldest_ready_seconds", "How long the oldest due job has waited", labels=("kind",)
    )
    for kind, seconds in sorted(counts.oldest_ready_seconds(tx, now).items()):
        waiting.add_metric((kind,), seconds)
    yield waiting
    parked = GaugeMetricFamily("egfr_dls_destination_parked", "1: nothing is sent to it", labels=("destination",))
    for name, reason in sorted(destinations.parked_reasons(tx).items()):
        parked.add_metric((name,), float(reason is not None))
    yield parked


def _of_spool(ledger: Ledger, spool: SpoolIndex, now: float) -> Iterator[Metric]:
    state = spool_document.state(ledger, spool, now)
    segments = GaugeMetricFamily("egfr_dls_spool_segments", "Segments of the spool by state", labels=("state",))
    for name in ("ready", "active", "sealed"):
        segments.add_metric((name,), state[name])
    yield segments
    yield _single("spool_used_bytes", "Bytes of the spool's segments", state["bytes_used"])
    if state["free_bytes"] is not None:
        yield _single("spool_free_bytes", "Bytes that are free on the spool's disk", state["free_bytes"])
    yield _single("spool_unindexed_records", "Records not in the ledger yet; counted to 1000", state["unindexed"])
    yield _single(
        "spool_oldest_unindexed_seconds", "Age of the oldest of them", state["oldest_unindexed_seconds"] or 0.0
    )


def _single(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"egfr_dls_{name}", help_text, value=value)
