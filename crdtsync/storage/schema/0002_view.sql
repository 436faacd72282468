-- The index of histories: which commits touch a record, by arrival.

CREATE TABLE _touch (
    document INTEGER NOT NULL,
    arrival  INTEGER NOT NULL,
    PRIMARY KEY (document, arrival)
) WITHOUT ROWID;

-- A view that holds records already lacks this of them: a chain that no log has, and it is derived anew (L1, L8).
UPDATE _state SET chain = x'';
