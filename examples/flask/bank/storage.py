"""One SQLite file, opened once for each request. It knows nothing of the relay."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask, current_app, g

SCHEMA = Path(__file__).with_name("schema.sql")


def connect(path: str | Path) -> sqlite3.Connection:
    """Every statement is a transaction of its own, unless it stands within `transaction`."""
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    # What was acted upon must still be so after the power went.
    db.execute("PRAGMA synchronous = FULL")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, and nobody else writes meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def database() -> sqlite3.Connection:
    """The connection of the request that is being answered."""
    if "db" not in g:
        g.db = connect(current_app.config["DATABASE"])
    return g.db


def init(app: Flask) -> None:
    db = connect(app.config["DATABASE"])
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(SCHEMA.read_text())
    db.close()

    @app.teardown_appcontext
    def close(_: BaseException | None) -> None:
        if "db" in g:
            g.pop("db").close()
