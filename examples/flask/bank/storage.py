"""One SQLite file, opened once per request. Independent of the relay."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask, current_app, g

MIGRATIONS = Path(__file__).with_name("migrations")


def connect(path: str | Path) -> sqlite3.Connection:
    """Autocommit, except within `transaction`."""
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    # A booking must survive a power cut.
    db.execute("PRAGMA synchronous = FULL")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """An immediate transaction: atomic, without another writer in between."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def database() -> sqlite3.Connection:
    """The connection of the current request."""
    if "db" not in g:
        g.db = connect(current_app.config["DATABASE"])
    return g.db


def migrate(db: sqlite3.Connection) -> None:
    """Migrates to the newest version: each migration in one transaction, once, also if several
    workers start at the same time. To change the schema, add a file."""
    files = sorted(MIGRATIONS.glob("*.sql"))
    db.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER)"
    )
    if _version(db) > len(files):
        raise SystemExit("the database was made by a newer version of this application")
    for version, file in enumerate(files, 1):
        if version <= _version(db):
            continue
        # The version is written first, so that the second of two workers fails before any change.
        script = (
            f"BEGIN IMMEDIATE; INSERT INTO schema_version VALUES ({version}, strftime('%s', 'now'));"
            f"{file.read_text()}; COMMIT;"
        )
        try:
            db.executescript(script)
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if _version(db) < version:
                raise


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]
    return version


def init(app: Flask) -> None:
    db = connect(app.config["DATABASE"])
    db.execute("PRAGMA journal_mode = WAL")
    # Allows `DROP TABLE` of a referenced table.
    db.execute("PRAGMA foreign_keys = OFF")
    migrate(db)
    db.close()

    @app.teardown_appcontext
    def close(_: BaseException | None) -> None:
        if "db" in g:
            g.pop("db").close()
