-- "arip": marks the file as a store of ari-presence.
PRAGMA application_id = 0x61726970;

-- Manual states, one row for each user who has one. Times are seconds since the epoch, UTC.
CREATE TABLE manual (
    user TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL,
    message TEXT
) WITHOUT ROWID;

-- What each server confirmed last for a user's lamps: tells a stale lamp from somebody's wish.
CREATE TABLE lamps (
    pbx TEXT NOT NULL,
    user TEXT NOT NULL,
    text TEXT NOT NULL CHECK (text <> ''),
    PRIMARY KEY (pbx, user)
) WITHOUT ROWID;

-- Startup time of each Asterisk in its own words: tells whether it has restarted.
CREATE TABLE servers (
    pbx TEXT PRIMARY KEY NOT NULL,
    startup TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    user TEXT NOT NULL,
    state TEXT NOT NULL,
    layer TEXT NOT NULL,
    source TEXT NOT NULL,
    until REAL,
    message TEXT
);
CREATE INDEX history_at ON history (at);
CREATE INDEX history_user_at ON history (user, at);
