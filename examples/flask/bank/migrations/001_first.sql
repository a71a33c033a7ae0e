-- What the bank keeps. Times are seconds since the epoch; ids of browsers, and activation codes,
-- are kept as hashes, so that a reader of this file cannot use them.

CREATE TABLE IF NOT EXISTS user (
    username        TEXT PRIMARY KEY,
    display_name    TEXT NOT NULL,
    activation_hash TEXT              -- until the first card is registered
);

CREATE TABLE IF NOT EXISTS session (
    browser  TEXT PRIMARY KEY,
    username TEXT NOT NULL REFERENCES user,
    level    TEXT NOT NULL CHECK (level IN ('enrolling', 'signed_in')),
    began_at INTEGER NOT NULL,
    seen_at  INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS payment (
    id          INTEGER PRIMARY KEY,
    username    TEXT NOT NULL REFERENCES user,
    payee       TEXT NOT NULL,
    cents       INTEGER NOT NULL CHECK (cents > 0),
    reference   TEXT NOT NULL,
    made_at     INTEGER NOT NULL,
    state       TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'approved', 'withdrawn')),
    approved_at INTEGER,
    -- What vouches for it: who signed the words, with which card and phone, and the proof itself.
    tx_binding  TEXT,
    with_pin    INTEGER,
    card        TEXT,
    phone       TEXT,
    result      TEXT
);

-- One row for each ceremony that was opened: who may ask how it ended, and what its result token
-- must say. `status` leaves 'pending' once, in the transaction that acts upon the outcome.
CREATE TABLE IF NOT EXISTS ceremony (
    id         TEXT PRIMARY KEY,
    browser    TEXT NOT NULL,
    username   TEXT NOT NULL,
    type       TEXT NOT NULL,
    expected   TEXT NOT NULL,         -- `fido_relay.Expected` as JSON
    payment_id INTEGER REFERENCES payment,
    code       TEXT,                  -- until it is of no more use
    opened_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    status     TEXT NOT NULL DEFAULT 'pending',
    reason     TEXT,
    closed_at  INTEGER,
    collected  INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX IF NOT EXISTS ceremony_of_payment ON ceremony (payment_id);
CREATE INDEX IF NOT EXISTS payment_of_user ON payment (username);
