-- What is in conflict between records (engine/between.py). Such a conflict is a row of _conflict under document 0;
-- here stand its records, and the place at which they met.

CREATE TABLE _between (
    place  TEXT NOT NULL,
    id     TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (place, id, record)
) WITHOUT ROWID;

CREATE INDEX _between_of_record ON _between (record);

CREATE INDEX _conflict_by_id ON _conflict (id);

CREATE INDEX _conflict_of_record ON _conflict (record);

-- Places that records take where no column of their kind's table says so: hours of a room or a person.
CREATE TABLE _claim (
    place  TEXT NOT NULL,
    record TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (place, record)
) WITHOUT ROWID;

CREATE INDEX _claim_of_record ON _claim (record);

-- Counted up whenever the list of conflicts may have changed, for those who watch it.
CREATE TABLE _conflict_changes (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL
);

INSERT INTO _conflict_changes (one, count) VALUES (1, 0);

CREATE TRIGGER _conflict_came AFTER INSERT ON _conflict BEGIN
    UPDATE _conflict_changes SET count = count + 1;
END;

CREATE TRIGGER _conflict_went AFTER DELETE ON _conflict BEGIN
    UPDATE _conflict_changes SET count = count + 1;
END;
