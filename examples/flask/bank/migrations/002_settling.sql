-- A ceremony is noted before the relay is asked for it, so that a form that is sent twice, or whose
-- answer is lost, asks for the same ceremony again.
CREATE TABLE ceremony_2 (
    key        TEXT PRIMARY KEY,      -- of the browser and its form; also the `Idempotency-Key`
    id         TEXT UNIQUE,           -- the relay's; NULL until its answer has been stored
    browser    TEXT NOT NULL,
    username   TEXT NOT NULL,
    type       TEXT NOT NULL,
    payment_id INTEGER REFERENCES payment,
    request    TEXT NOT NULL,         -- further arguments of `FidoRelay.open`, as JSON
    code       TEXT,                  -- code and ticket: until the ceremony is closed
    ticket     TEXT,
    opened_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    looked_at  INTEGER NOT NULL,      -- by the reconciler
    status     TEXT NOT NULL DEFAULT 'pending',
    reason     TEXT,
    closed_at  INTEGER,
    collected  INTEGER NOT NULL DEFAULT 0
);
INSERT INTO ceremony_2
    SELECT id, id, browser, username, type, payment_id,
        json_object('client_nonce', json_extract(expected, '$.client_nonce')),
        code, NULL, opened_at, expires_at, opened_at, status, reason, closed_at, collected
    FROM ceremony;
DROP TABLE ceremony;
ALTER TABLE ceremony_2 RENAME TO ceremony;
CREATE INDEX ceremony_of_payment ON ceremony (payment_id);
CREATE INDEX ceremony_pending ON ceremony (browser) WHERE status = 'pending';

-- The form that it was made with: sent twice, it makes one payment.
ALTER TABLE payment ADD COLUMN key TEXT;
CREATE UNIQUE INDEX payment_of_form ON payment (key);

ALTER TABLE user ADD COLUMN activation_ends_at INTEGER;
UPDATE user SET activation_ends_at = strftime('%s', 'now') + 30 * 86400
    WHERE activation_hash IS NOT NULL;

-- Of several workers one does a periodic duty.
CREATE TABLE duty (name TEXT PRIMARY KEY, until INTEGER NOT NULL);
INSERT INTO duty VALUES ('reconcile', 0);
