"""Migrations: an older database is migrated, a newer one refused."""

import threading
from pathlib import Path

import pytest
from bank import storage


def older(path: Path) -> None:
    """A database of the first version, without a table of versions."""
    db = storage.connect(path)
    db.executescript((storage.MIGRATIONS / "001_first.sql").read_text())
    db.execute("INSERT INTO user VALUES ('ada', 'Ada', 'hash')")
    db.execute("INSERT INTO payment (username, payee, cents, reference, made_at) VALUES ('ada', 'R', 1, '', 5)")
    db.execute(
        "INSERT INTO ceremony (id, browser, username, type, expected, payment_id, opened_at,"
        """ expires_at) VALUES ('cer_1', 'b', 'ada', 'approval', '{"client_nonce": "n"}', 1, 5, 125)"""
    )
    db.close()


def test_an_older_database_is_migrated_by_several_workers(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite3"
    older(path)
    start, failed = threading.Barrier(4), []

    def migrate() -> None:
        db = storage.connect(path)
        db.execute("PRAGMA foreign_keys = OFF")
        start.wait(20)
        try:
            storage.migrate(db)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    db = storage.connect(path)
    row = db.execute("SELECT * FROM ceremony JOIN payment ON payment.id = payment_id").fetchone()
    assert (row["id"], row["request"], row["payee"]) == ("cer_1", '{"client_nonce":"n"}', "R")
    assert db.execute("SELECT activation_ends_at > 0 FROM user").fetchone()[0]
    versions = [row[0] for row in db.execute("SELECT version FROM schema_version")]
    assert versions == list(range(1, len(versions) + 1))
    assert not db.execute("PRAGMA foreign_key_check").fetchall()


def test_a_failed_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "001_good.sql").write_text("CREATE TABLE good (id)")
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE half (id); CREATE TABLE good (id)")
    monkeypatch.setattr(storage, "MIGRATIONS", tmp_path)
    db = storage.connect(tmp_path / "bank.sqlite3")
    with pytest.raises(storage.sqlite3.OperationalError):
        storage.migrate(db)
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    assert tables == {"schema_version", "good"}


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    db = storage.connect(tmp_path / "bank.sqlite3")
    storage.migrate(db)
    db.execute("INSERT INTO schema_version VALUES (99, 0)")
    with pytest.raises(SystemExit):
        storage.migrate(db)
