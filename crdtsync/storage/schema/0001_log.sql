-- log.db: the sealed commits as they were received, in order of arrival. Nothing in here is readable content.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE member (
    number INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL UNIQUE,
    record BLOB NOT NULL
);

CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    id     BLOB NOT NULL UNIQUE             -- replica and boot, 24 bytes
);

CREATE TABLE entry (
    arrival    INTEGER PRIMARY KEY,         -- 1, 2, 3 ... without gaps, a causal order (L2)
    log        INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    log_bytes  INTEGER NOT NULL,            -- bytes of this log's commits up to this one
    arrived_ms INTEGER NOT NULL,
    checked    INTEGER NOT NULL,            -- 1: its own signature was verified
    chain      BLOB NOT NULL,               -- running hash over all commits up to this one
    header     BLOB NOT NULL,
    parts      BLOB NOT NULL,               -- msgpack array of sealed parts, empty where one is not here
    signature  BLOB NOT NULL
);

CREATE UNIQUE INDEX entry_of_log ON entry (log, sequence);  -- L3: one commit per place
