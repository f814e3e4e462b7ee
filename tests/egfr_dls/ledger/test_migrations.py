"""A ledger of an older version becomes one of this: the same tables, its rows kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import inspect, select

from egfr_dls.ledger import Ledger, instances, schema
from egfr_dls.ledger.migrations import STEPS
from egfr_dls.study import Priority

# What version 1 had of the tables that have changed since.
VERSION_1 = """
CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO schema_version VALUES (1);
CREATE TABLE segment (name VARCHAR(64) NOT NULL PRIMARY KEY, indexed_bytes BIGINT NOT NULL);
INSERT INTO segment VALUES ('a.seg', 7);
CREATE TABLE instance (
  id INTEGER NOT NULL PRIMARY KEY, sop_instance_uid VARCHAR(64) NOT NULL, sha256 VARCHAR(64) NOT NULL,
  sop_class_uid VARCHAR(64) NOT NULL, series_instance_uid VARCHAR(64) NOT NULL, study_instance_uid VARCHAR(64) NOT NULL,
  transfer_syntax_uid VARCHAR(64) NOT NULL, segment VARCHAR(64) NOT NULL, "offset" BIGINT NOT NULL, length BIGINT NOT NULL,
  association_id VARCHAR(36) NOT NULL, calling_ae_title VARCHAR(16) NOT NULL, called_ae_title VARCHAR(16) NOT NULL,
  peer_address VARCHAR(64) NOT NULL, received_at FLOAT NOT NULL, conflict BOOLEAN NOT NULL,
  UNIQUE (sop_instance_uid, sha256));
CREATE INDEX ix_instance_study_instance_uid ON instance (study_instance_uid);
CREATE TABLE study (
  study_instance_uid VARCHAR(64) NOT NULL PRIMARY KEY, study_key VARCHAR(16) NOT NULL UNIQUE, state VARCHAR(16) NOT NULL,
  held BOOLEAN NOT NULL, first_seen_at FLOAT NOT NULL, last_instance_at FLOAT NOT NULL, state_since FLOAT NOT NULL,
  conflict BOOLEAN NOT NULL, refusal_code VARCHAR(32), failure VARCHAR(64));
CREATE INDEX ix_study_state ON study (state);
INSERT INTO study VALUES ('1.2', 'key', 'SCORED', 0, 1, 1, 1, 0, NULL, NULL);
CREATE TABLE delivery (
  sop_instance_uid VARCHAR(64) NOT NULL, destination VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL,
  attempts INTEGER NOT NULL, first_try_at FLOAT, due_at FLOAT NOT NULL, last_status INTEGER, reason VARCHAR(64) NOT NULL,
  alike INTEGER NOT NULL, PRIMARY KEY (sop_instance_uid, destination));
CREATE INDEX ix_delivery_state ON delivery (state);
INSERT INTO delivery VALUES ('1.2.3', 'pacs', 'stored', 1, 1, 1, 0, '', 1);
CREATE INDEX ix_instance_association_id ON instance (association_id);
"""


def shape(ledger: Ledger) -> dict[str, tuple[set[str], set[str]]]:
    """Return columns and indexes by table."""
    with ledger.read() as tx:
        seen = inspect(tx)
        return {
            name: (
                {column["name"] for column in seen.get_columns(name)},
                {str(index["name"]) for index in seen.get_indexes(name)},
            )
            for name in seen.get_table_names()
        }


def test_an_old_ledger_gets_the_shape_of_a_new_one(tmp_path: Path) -> None:
    old = tmp_path / "old.sqlite"
    with sqlite3.connect(old) as connection:
        connection.executescript(VERSION_1)
    connection.close()
    migrated, new = Ledger(f"sqlite:///{old}"), Ledger(f"sqlite:///{tmp_path / 'new.sqlite'}")
    assert shape(migrated) == shape(new)
    with migrated.read() as tx:
        assert instances.watermarks(tx) == {"a.seg": 7}
        assert instances.sealed_segments(tx) == frozenset()
        (stored,) = tx.execute(select(schema.delivery)).all()
        assert (stored.state, stored.proof_due_at, stored.absences) == ("stored", None, 0)  # no proof is owed of it
        assert tx.scalar(select(schema.study.c.priority)) == Priority.ROUTINE
        assert tx.exec_driver_sql("SELECT version FROM schema_version").scalar_one() == schema.SCHEMA_VERSION
    migrated.close()
    new.close()
    Ledger(f"sqlite:///{old}").close()  # and is opened again as it is


def test_there_is_a_step_to_every_version() -> None:
    assert list(STEPS) == list(range(2, schema.SCHEMA_VERSION + 1))
