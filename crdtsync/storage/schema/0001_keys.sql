-- keys.db: wrapped data keys. A file of its own with secure_delete, so that a key can be destroyed.

CREATE TABLE data_key (
    id      BLOB PRIMARY KEY,
    epoch   BLOB NOT NULL,
    subject TEXT NOT NULL,
    wrapped BLOB NOT NULL
) WITHOUT ROWID;

CREATE INDEX data_key_of_subject ON data_key (subject);
