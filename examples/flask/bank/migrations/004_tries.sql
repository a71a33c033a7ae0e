-- How often something was tried within a minute: `what` is an address or a username.
CREATE TABLE attempt (
    what   TEXT NOT NULL,
    minute INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (what, minute)
);

-- Browsers in which a user has signed in.
CREATE TABLE known_browser (
    browser  TEXT NOT NULL,
    username TEXT NOT NULL,
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (browser, username)
);
