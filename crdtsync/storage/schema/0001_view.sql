-- view.db (SQLCipher): derived from the log, and thrown away whenever it is not (L8).
-- Names with a leading underscore, so that the kinds' tables own the plain names.

CREATE TABLE _state (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    arrival INTEGER NOT NULL,
    chain   BLOB NOT NULL,
    digest  BLOB NOT NULL,
    records INTEGER NOT NULL
);

CREATE TABLE _document (
    number      INTEGER PRIMARY KEY,        -- also the rowid in the kind's table and in _search
    kind        TEXT NOT NULL,
    record      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    damaged     TEXT NOT NULL,
    words_hash  INTEGER NOT NULL,           -- 0: no words in _search
    conflicts   INTEGER NOT NULL,           -- rows in _conflict
    arrival     INTEGER NOT NULL,
    state       BLOB NOT NULL
);

CREATE UNIQUE INDEX _document_of_kind ON _document (kind, record);

CREATE INDEX _document_by_arrival ON _document (arrival);   -- what changed since

CREATE VIRTUAL TABLE _search USING fts5 (
    words, content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 2"
);

CREATE TABLE _conflict (
    document    INTEGER NOT NULL,
    id          TEXT NOT NULL,
    kind        TEXT NOT NULL,
    record      TEXT NOT NULL,
    severity    TEXT NOT NULL,
    body        TEXT NOT NULL,
    detected_ms INTEGER NOT NULL,
    PRIMARY KEY (document, id)
) WITHOUT ROWID;

CREATE TABLE _waiting (
    key     BLOB NOT NULL,
    place   INTEGER NOT NULL,
    arrival INTEGER NOT NULL,
    PRIMARY KEY (key, place)
) WITHOUT ROWID;
