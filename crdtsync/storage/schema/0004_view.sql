-- Which declaration of its kind each row follows from: rows are derived anew, a few at a time, when it changes.

CREATE TABLE _kind (
    kind     TEXT PRIMARY KEY,
    declared TEXT NOT NULL,                 -- JSON: what the rows follow from, or are being brought to
    former   TEXT NOT NULL,                 -- JSON: all that programs here ever declared
    after    TEXT,                          -- rows of records up to this id are brought to it; NULL: all are
    behind   TEXT NOT NULL,                 -- JSON: the columns in which the others lack it; null: in all of them
    done     INTEGER NOT NULL               -- records gone over so far
) WITHOUT ROWID;
