"""The durable state opens as a whole, or the process does not start."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from egfr_dls import settings
from egfr_dls.errors import ConfigurationError
from egfr_dls.ledger import Ledger, schema
from egfr_dls.store import open_store


def test_state_is_made_under_the_root_for_its_owner_only(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    with open_store(settings.load(None, {"storage": {"root": root}})) as store:
        assert len(store.site_key) == 32
        made = {path.name: path.stat().st_mode & 0o077 for path in root.iterdir()}
        assert made.keys() >= {"ledger.sqlite", "ledger.sqlite-wal", "objects", "site.key", "spool"}
        assert set(made.values()) == {0}
    assert root.stat().st_mode & 0o777 == 0o700


def test_root_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match=r"storage\.root .*needed: a folder that can be written"),
        open_store(settings.load(None, {"storage": {"root": tmp_path / "file"}})),
    ):
        raise AssertionError("opened")


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nonsense", "not a database URL"),
        ("postgresql+psycopg://user:secret@host/db", "postgresql is not in this version"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_ledger_url_that_cannot_serve_is_refused_without_its_password(url: str, part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        Ledger(url)
    assert "secret" not in str(caught.value)


def test_ledger_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger(url)
    with ledger.begin() as tx:
        tx.execute(update(schema.schema_version).values(version=schema.SCHEMA_VERSION + 1))
    ledger.close()
    with pytest.raises(ConfigurationError, match="run the newer one"):
        Ledger(url)


def test_ledger_syncs_every_commit_in_wal_mode(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with ledger.begin() as tx:
        pragmas = {name: tx.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
    ledger.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2: FULL
