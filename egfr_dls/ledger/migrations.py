"""How an older ledger becomes one of this version: numbered, forward only, in the transaction that opens it."""

from __future__ import annotations

from sqlalchemy import Connection, update

from egfr_dls.ledger import schema

# To this version from the one before it. New tables are not named here: they are made wherever they are missing.
STEPS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE segment ADD COLUMN sealed BOOLEAN NOT NULL DEFAULT 0",
        "CREATE INDEX ix_instance_segment ON instance (segment)",
    ),
    3: ("ALTER TABLE instance RENAME COLUMN sha256 TO digest",),
    4: (
        "ALTER TABLE study ADD COLUMN priority INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE delivery ADD COLUMN proof_due_at FLOAT",
        "ALTER TABLE delivery ADD COLUMN proof_tries INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE delivery ADD COLUMN absences INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX ix_delivery_proof_due_at ON delivery (proof_due_at)",
    ),
    5: (
        "ALTER TABLE findings ADD COLUMN question VARCHAR(64)",
        "ALTER TABLE findings ADD COLUMN notice BOOLEAN NOT NULL DEFAULT 0",
        # another study holding the UID makes no second content of this one
        "UPDATE instance SET conflict = 0 WHERE conflict AND NOT EXISTS (SELECT 1 FROM instance AS first "
        "WHERE first.sop_instance_uid = instance.sop_instance_uid "
        "AND first.study_instance_uid = instance.study_instance_uid AND first.id < instance.id)",
    ),
}


def migrate(tx: Connection, version: int) -> None:
    """Bring a ledger of an older version up to date."""
    for to in range(version + 1, schema.SCHEMA_VERSION + 1):
        for statement in STEPS[to]:
            tx.exec_driver_sql(statement)
        tx.execute(update(schema.schema_version).values(version=to))
