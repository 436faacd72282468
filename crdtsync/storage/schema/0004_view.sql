-- Which declaration of its kind each row follows from: rows are derived anew, a few at a time, when it changes.

CREATE TABLE _kind (
    kind     TEXT PRIMARY KEY,
    declared TEXT NOT NULL,                 -- JSON: what the rows follow from, or are being brought to
    former   TEXT NOT NULL,                 -- JSON: all that programs here ever declared
    after    TEXT,                          -- rows of records up to this id are brought to it; NULL: all are
    behind   TEXT NOT NULL,                 -- JSON: the columns in which the others lack it; null: in all of them
    done     INTEGER NOT NULL               -- records gone over so far
) WITHOUT ROWID;

-- Which patients are one person. A link is kept as its patient's record says it; the person of linked patients follows
-- from all links: the least of their ids.

CREATE TABLE _same (
    patient TEXT NOT NULL,
    other   TEXT NOT NULL,
    PRIMARY KEY (patient, other)
) WITHOUT ROWID;

CREATE INDEX _same_by_other ON _same (other);

CREATE TABLE _person (
    patient TEXT PRIMARY KEY,               -- only patients that are linked
    person  TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX _person_patients ON _person (person);

-- For questions: every patient, and the one id of the person that it is of.
CREATE VIEW person (patient, person) AS
    SELECT d.record, coalesce(p.person, d.record)
    FROM _document AS d LEFT JOIN _person AS p ON p.patient = d.record
    WHERE d.kind = 'patient' AND d.fingerprint <> zeroblob(32);
