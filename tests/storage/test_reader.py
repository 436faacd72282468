"""Reader: questions to the view, beside the writer, that cannot write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from crdtsync.errors import RowsBehind, StorageFailure, UnknownField, UnknownKind, UsageError
from crdtsync.ids import RecordId
from crdtsync.storage.base import KindState, StoredDocument, ViewChange
from crdtsync.storage.reader import IDLE_MAX, Reader
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.testing.stores import KIND, TABLE, SampleLog, sample_change, sample_record, write_log, write_records

VIEW_KEY = bytes(range(32))
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as made:
        made.declare_tables([TABLE])
        write_log(made, SampleLog("a"), 1)
        yield made


@pytest.fixture
def reader(store: SqliteStore, tmp_path: Path) -> Iterator[Reader]:
    with closing(Reader(tmp_path, VIEW_KEY)) as made:
        yield made


def _spoken(number: int, words: str, /, **row: object) -> ViewChange:
    return replace(sample_change(number), words=words, row=row)


def _ids(found: list[StoredDocument]) -> list[RecordId]:
    return [document.record for document in found]


# -- sql ---------------------------------------------------------------------------------------------------------------


def test_rows_by_column_name(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [_spoken(n, "", family_name="Müller", number=n) for n in range(3)])
    assert reader.sql(f"SELECT number, family_name FROM {KIND} WHERE number > ? ORDER BY number", (0,)) == [
        {"number": 1, "family_name": "Müller"},
        {"number": 2, "family_name": "Müller"},
    ]
    assert reader.sql(f"SELECT count(*) AS n FROM {KIND} WHERE number = :number", {"number": 2}) == [{"n": 1}]
    assert reader.sql(f"SELECT * FROM {KIND} WHERE number = 9") == []
    assert [*reader.sql(f"SELECT * FROM {KIND} LIMIT 1")[0]] == ["id", "family_name", "number", "born"]


def test_lossless_integers(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [_spoken(1, "", number=2**63 - 1), _spoken(2, "", number=-(2**63))])
    assert reader.sql(f"SELECT number FROM {KIND} ORDER BY number") == [{"number": -(2**63)}, {"number": 2**63 - 1}]


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM {KIND}",
        f"INSERT INTO {KIND} (id) VALUES ('x')",
        f"UPDATE {KIND} SET number = 1",
        f"DROP TABLE {KIND}",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "INSERT INTO _search (_search) VALUES ('delete-all')",
        "PRAGMA query_only = 0",
        "PRAGMA key = 'x'",
        "PRAGMA rekey = 'x'",
        "ATTACH ':memory:' AS other",
        "VACUUM INTO '/tmp/copy.db'",
        "SELECT load_extension('x')",
        "SELECT sqlcipher_export('main')",
        "BEGIN",
        f"WITH x AS (SELECT 1) DELETE FROM {KIND}",
    ],
)
def test_questions_cannot_write(statement: str, store: SqliteStore, reader: Reader) -> None:
    write_records(store, [sample_change(1)])
    with pytest.raises(UsageError):
        reader.sql(statement)
    assert reader.sql(f"SELECT count(*) AS n FROM {KIND}") == [{"n": 1}]
    assert store.counts() == {KIND: 1}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEKT 1", "cannot be answered: .*SELEKT"),
        ("SELECT absent FROM sample", "no such column"),
        ("SELECT * FROM absent", "no such table"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("", "not a question"),
        ("-- nothing", "not a question"),
        ("SELECT ?", "cannot be answered"),
        ("DELETE FROM sample", "can only read"),
    ],
)
def test_what_is_no_question_is_explained(query: str, words: str, reader: Reader) -> None:
    with pytest.raises(UsageError, match=words):
        reader.sql(query)
    assert reader.sql("SELECT 1 AS one") == [{"one": 1}]


def test_values_of_a_wrong_type_are_explained(reader: Reader) -> None:
    for value in ([1], 2**64):
        with pytest.raises(UsageError, match="cannot be answered"):
            reader.sql("SELECT ?", (value,))


def test_answers_have_limits(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [sample_change(n) for n in range(5)])
    assert len(reader.sql(f"SELECT * FROM {KIND}", rows_max=5)) == 5
    with pytest.raises(UsageError, match="more than 4 rows"):
        reader.sql(f"SELECT * FROM {KIND}", rows_max=4)
    with pytest.raises(UsageError, match=r"longer than 0\.05 s"):
        reader.sql(ENDLESS, seconds_max=0.05)
    assert reader.sql("SELECT 1 AS one") == [{"one": 1}]


# -- search and find ---------------------------------------------------------------------------------------------------


def test_all_records_of_a_subject(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [sample_change(number) for number in (4, 1, 2)])
    assert reader.records_of("subject 1") == sorted([(KIND, sample_record(1)), (KIND, sample_record(4))])
    assert reader.records_of("subject 7") == []


def test_search_by_beginnings_of_words(store: SqliteStore, reader: Reader) -> None:
    write_records(
        store,
        [
            _spoken(1, "Müller Erika Jena"),
            _spoken(2, "Müller-Lüdenscheidt Hans Weimar"),
            _spoken(3, "Weiß O'Neill 24.12.1990"),
            _spoken(4, ""),
        ],
    )
    found = {
        words: {*_ids(reader.search(words))} for words in ("mull", "MÜLLER jena", "müller-lü", "o'ne", "24.12", "eri")
    }
    one, two, three = (sample_record(n) for n in (1, 2, 3))
    assert found == {
        "mull": {one, two},
        "MÜLLER jena": {one},
        "müller-lü": {two},
        "o'ne": {three},
        "24.12": {three},
        "eri": {one},
    }
    assert len(reader.search("m", limit=1)) == 1
    assert reader.search("nobody") == []


@pytest.mark.parametrize(
    "words", ["", "  ", '"', '""', "*", "a OR", "AND", "NEAR(", "-", "(", ":", "\0", "words:x", "^a"]
)
def test_any_words_can_be_searched(words: str, store: SqliteStore, reader: Reader) -> None:
    write_records(store, [_spoken(1, "Müller")])
    assert reader.search(words) in ([], [sample_change(1).document])


def test_words_that_were_replaced_are_not_found(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [_spoken(1, "Anton"), _spoken(2, "Anton")])
    write_records(store, [_spoken(1, "Berta"), _spoken(2, "")])
    assert reader.search("anton") == []
    assert _ids(reader.search("berta")) == [sample_record(1)]
    write_records(store, [_spoken(2, "Anton")])
    assert _ids(reader.search("anton")) == [sample_record(2)]
    store.begin_view()
    store.write_view([_spoken(1, "Cäsar"), _spoken(3, "Cäsar")])
    store.abort_view()
    write_records(store, [_spoken(1, "Dora"), _spoken(3, "Dora")])
    assert reader.search("caesar") == reader.search("casar") == reader.search("berta") == []
    assert {*_ids(reader.search("dora"))} == {sample_record(1), sample_record(3)}
    store.reset_view()
    assert reader.search("dora") == []


def test_find_by_columns(store: SqliteStore, reader: Reader) -> None:
    changes = [_spoken(n, "", family_name=f"F{n % 2}", number=n or None) for n in range(6)]
    write_records(store, changes)
    assert _ids(reader.find(KIND, {"family_name": "F1"})) == [sample_record(n) for n in (1, 3, 5)]
    assert _ids(reader.find(KIND, {"family_name": "F1", "number": 3})) == [sample_record(3)]
    assert _ids(reader.find(KIND, {"number": None})) == [sample_record(0)]
    assert _ids(reader.find(KIND, {"id": sample_record(4)})) == [sample_record(4)]
    assert _ids(reader.find(KIND, limit=2)) == [sample_record(0), sample_record(1)]
    assert len(reader.find(KIND)) == 6
    assert reader.find(KIND, {"family_name": 'F1" OR 1 --'}) == []
    with pytest.raises(UnknownField, match="no column 'nothing'"):
        reader.find(KIND, {"nothing": 1})
    for kind in ("nothing", "_document", 'x" --'):
        with pytest.raises(UnknownKind, match="no table"):
            reader.find(kind)


def test_find_uses_the_index(store: SqliteStore, reader: Reader) -> None:
    plan = store._view.execute(
        f"EXPLAIN QUERY PLAN SELECT * FROM {KIND} AS t WHERE t.family_name IS ?", ("x",)
    ).fetchall()
    assert "USING INDEX" in plan[0][3]


def test_half_a_character_is_explained(reader: Reader) -> None:
    with pytest.raises(UsageError, match="cannot be answered"):
        reader.search("\ud800")


def test_documents_of_a_kind_without_a_table(store: SqliteStore, reader: Reader) -> None:
    later = replace(sample_change(1).document, kind="later")
    write_records(store, [replace(sample_change(1), document=later, row=None), sample_change(2), sample_change(3)])
    assert reader.documents("later") == [later]
    assert reader.documents("never") == []
    assert _ids(reader.documents(KIND)) == sorted([sample_record(2), sample_record(3)])
    assert len(reader.documents(KIND, 1)) == 1


def test_what_changed_behind_a_place(store: SqliteStore, reader: Reader) -> None:
    write_log(store, SampleLog("b"), 9)
    write_records(store, [sample_change(n, arrival=1 + n // 3) for n in range(9)])
    expected = sorted((1 + n // 3, KIND, sample_record(n)) for n in range(9))
    assert reader.changed(0, "", RecordId(""), 100) == expected
    for n in range(9):
        assert reader.changed(*expected[n], 3) == expected[n + 1 : n + 4]
    write_records(store, [sample_change(0, 2, arrival=9)], records=9)
    assert reader.changed(*expected[-1], 100) == [(9, KIND, sample_record(0))]
    plan = store._view.execute(
        "EXPLAIN QUERY PLAN SELECT arrival, kind, record FROM _document WHERE (arrival, kind, record) > (?, ?, ?) "
        "ORDER BY arrival, kind, record LIMIT ?",
        (1, "", "", 9),
    ).fetchall()
    assert "_document_by_arrival (arrival>" in plan[0][3]


# -- the site's own questions, and connections -------------------------------------------------------------------------


def test_readers_see_what_was_committed(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [sample_change(1, conflicts=2)])
    assert reader.document(KIND, sample_record(1)) == sample_change(1).document
    assert reader.document(KIND, sample_record(2)) is None
    assert reader.documents_of(sample_record(1)) == [sample_change(1).document]
    assert reader.documents_of(sample_record(2)) == []
    assert reader.conflicts() == store.conflicts() != []
    assert reader.view_state() == store.view_state()
    store.begin_view()
    store.write_view([sample_change(1, 2)])
    assert reader.document(KIND, sample_record(1)) == sample_change(1).document
    store.commit_view(replace(store.view_state(), digest=bytes(32)))
    assert reader.document(KIND, sample_record(1)) == sample_change(1, 2).document
    assert reader.view_state() == store.view_state()


def test_many_threads_at_once(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [sample_change(n) for n in range(100)])
    counted: list[int] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait(5)
        for _ in range(20):
            counted.append(len(reader.find(KIND)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for version in range(20):
        write_records(store, [sample_change(n, version) for n in range(100)])
    for thread in threads:
        thread.join(10)
    assert counted == [100] * 160
    assert 1 <= len(reader._idle) <= IDLE_MAX


def test_a_view_that_was_replaced_is_read_anew(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [sample_change(1)])
    assert len(reader.find(KIND)) == 1
    store._start_over()
    assert reader.find(KIND) == []
    write_records(store, [sample_change(n) for n in range(4)])
    assert len(reader.find(KIND)) == 4


def test_a_reader_needs_a_view_and_its_key(store: SqliteStore, tmp_path: Path) -> None:
    with closing(Reader(tmp_path, bytes(32))) as wrong, pytest.raises(StorageFailure, match="open the replica"):
        wrong.sql("SELECT 1")
    with closing(Reader(tmp_path / "nowhere", VIEW_KEY)) as nowhere, pytest.raises(StorageFailure, match="first"):
        nowhere.sql("SELECT 1")


def test_a_closed_reader_says_so(reader: Reader) -> None:
    reader.sql("SELECT 1")
    reader.close()
    reader.close()
    with pytest.raises(UsageError, match="closed"):
        reader.sql("SELECT 1")


def test_reading_goes_on_when_the_writer_has_closed(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [sample_change(1)])
    store.close()
    assert len(reader.find(KIND)) == 1


# -- rows that are derived anew ----------------------------------------------------------------------------------------


def _note(store: SqliteStore, **states: KindState) -> None:
    store.begin_view()
    for kind, state in states.items():
        store.write_kind_state(kind, state)
    store.commit_view(store.view_state())


@pytest.mark.parametrize(
    "question",
    [
        f"SELECT number FROM {KIND}",
        f"SELECT * FROM {KIND} LIMIT 1",
        f"SELECT count(*) FROM {KIND} WHERE number IS NULL",
        f"SELECT family_name FROM {KIND} ORDER BY number",
        f"SELECT s.family_name FROM (SELECT family_name, number AS n FROM {KIND}) AS s WHERE s.n = 1",
        f"WITH few AS (SELECT number FROM {KIND}) SELECT count(*) FROM few",
        f"SELECT 1 WHERE EXISTS (SELECT 1 FROM {KIND} WHERE number = 2);",
        f"SELECT a.family_name FROM {KIND} AS a JOIN {KIND} AS b ON a._rowid_ = b.number",
    ],
)
def test_an_answer_that_would_not_be_whole_is_not_given(store: SqliteStore, reader: Reader, question: str) -> None:
    write_records(store, [_spoken(n, "", family_name="Müller", number=n) for n in range(3)])
    before = reader.sql(question)
    assert reader.sql(question) == before, "it is prepared, and known to the connection"
    _note(store, sample=KindState("", "", "", ("number", "conflicted"), 0))
    with pytest.raises(RowsBehind, match=f"rows of {KIND} are still derived anew") as refused:
        reader.sql(question)
    assert refused.value.kinds == (KIND,)
    _note(store, sample=KindState("", ""))
    assert reader.sql(question) == before


def test_what_was_known_before_is_answered_at_once(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [_spoken(n, "", family_name="Müller", number=n) for n in range(3)])
    _note(store, sample=KindState("", "", "", ("number", "conflicted"), 0), other=KindState("", "", "", None, 0))
    assert reader.sql(f"SELECT count(*) AS n FROM {KIND} WHERE family_name = :name", {"name": "Müller"}) == [{"n": 3}]
    assert len(reader.find(KIND, {"family_name": "Müller"})) == len(reader.find(KIND)) == 3
    assert reader.document(KIND, sample_record(1)) is not None and len(reader.documents(KIND)) == 3
    with pytest.raises(RowsBehind):
        reader.find(KIND, {"number": 1})
    with pytest.raises(UsageError, match="no such table"):
        reader.sql("SELECT * FROM nobody")
    with pytest.raises(UsageError, match="only read"):
        reader.sql(f"DELETE FROM {KIND}")


def test_a_kind_of_which_rows_are_missing_answers_nothing_of_its_table(store: SqliteStore, reader: Reader) -> None:
    write_records(store, [_spoken(n, "", family_name="Müller", number=n) for n in range(3)])
    _note(store, sample=KindState("", "", "", None, 0))
    for question in (f"SELECT count(*) FROM {KIND}", f"SELECT id FROM {KIND}", f"SELECT 1 FROM {KIND}"):
        with pytest.raises(RowsBehind):
            reader.sql(question)
    with pytest.raises(RowsBehind):
        reader.find(KIND)
    assert reader.sql("SELECT 1 AS one") == [{"one": 1}] and len(reader.documents(KIND)) == 3
