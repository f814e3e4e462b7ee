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
CREATE TABLE findings (
  id INTEGER NOT NULL PRIMARY KEY, study_instance_uid VARCHAR(64) NOT NULL, biomarker VARCHAR(64) NOT NULL,
  dedup VARCHAR(64) NOT NULL, revision INTEGER NOT NULL, document TEXT NOT NULL, evidence VARCHAR(64) NOT NULL,
  content_at FLOAT NOT NULL, UNIQUE (study_instance_uid, biomarker, revision));
CREATE INDEX ix_findings_study_instance_uid ON findings (study_instance_uid);
INSERT INTO findings VALUES (1, '1.2', 'pet_ct_egfr', 'd', 1, '{}', 'e', 1);
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
        (found,) = tx.execute(select(schema.findings)).all()
        assert (found.question, found.notice) == (None, False)
        assert tx.exec_driver_sql("SELECT version FROM schema_version").scalar_one() == schema.SCHEMA_VERSION
    migrated.close()
    new.close()
    Ledger(f"sqlite:///{old}").close()  # and is opened again as it is


def test_there_is_a_step_to_every_version() -> None:
    assert list(STEPS) == list(range(2, schema.SCHEMA_VERSION + 1))


def test_a_uid_that_another_study_holds_is_no_second_content_of_a_study_any_more(tmp_path: Path) -> None:
    """Versions until 4 marked both alike, so that a study which was moved had no instance that counted."""
    old = tmp_path / "old.sqlite"
    columns = "sop_instance_uid, sha256, study_instance_uid, conflict"
    others = (
        "sop_class_uid, series_instance_uid, transfer_syntax_uid, segment, association_id, calling_ae_title, called_ae_title, "
        "peer_address"
    )
    with sqlite3.connect(old) as connection:
        connection.executescript(VERSION_1)
        for uid, digest, study, conflict in (
            ("1.9.1", "a", "1.2", 0), ("1.9.1", "b", "1.2", 1), ("1.9.1", "c", "1.3", 1), ("1.9.1", "d", "1.3", 1)
        ):  # fmt: skip
            connection.execute(
                f'INSERT INTO instance ({columns}, {others}, "offset", length, received_at) '
                f"VALUES (?, ?, ?, ?, {', '.join(8 * ['0'])}, 0, 1, 0)",
                (uid, digest, study, conflict),
            )
    connection.close()
    ledger = Ledger(f"sqlite:///{old}")
    with ledger.read() as tx:
        rows = tx.execute(select(schema.instance.c.digest, schema.instance.c.conflict).order_by(schema.instance.c.id))
        assert [tuple(row) for row in rows] == [("a", False), ("b", True), ("c", False), ("d", True)]
    ledger.close()
