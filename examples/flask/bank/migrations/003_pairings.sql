-- Users whose open pairing links the relay has yet to void. An id is never used again: removing what
-- is done must not remove what was noted meanwhile.
CREATE TABLE pairings_to_void (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL
);
