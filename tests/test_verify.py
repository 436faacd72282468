"""`python -m crdtsync.verify FILE`: what it says, and what it ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdtsync import limits
from crdtsync.history.file import line
from crdtsync.verify import CHANGED, INCOMPLETE, INTACT, WRONG_USAGE, run
from tests.history.exports import a_patient, exported, sealed_anew, spans
from tests.sites import create

pytestmark = pytest.mark.anyio


async def test_what_it_says_and_ends_with(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    file = tmp_path / "file"
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        data = await exported(jena, patient, file)
        practice = jena.practice_id

        def missing(sections: dict[str, dict[str, object]]) -> None:
            commit = next(name for name in sections if name.startswith("commit ")).removeprefix("commit ")
            sections["head"]["missing"] = [commit]
            sections[f"missing {commit}"] = {"section": "missing", "commit": commit, "stamp": 0, "why": "it is rotten"}

        incomplete = await sealed_anew(jena, data, missing)  # type: ignore[arg-type]

    def ask(*words: object) -> tuple[int, str]:
        code = run([str(word) for word in words])
        return code, capfdbinary.readouterr().out.decode()

    code, said = ask(file)
    assert code == INTACT and said.startswith(f"Intact: the history of patient {patient.id}, 3 commits on 3 records.\n")
    assert practice in said and "Jena" in said
    assert ask(file, "--practice", practice)[0] == INTACT
    code, said = ask(file, "--practice", "another", "--json")
    assert code == CHANGED and json.loads(said)["problems"][0]["section"] == "head"
    code, said = ask(file, "--json")
    told = json.loads(said)
    assert (code, told["ok"], told["complete"], told["commits"], told["patient"]) == (INTACT, True, True, 3, patient.id)
    assert said.count("\n") == 1 and told["exported_by"]["site"] == "Jena" and told["problems"] == []

    part, start, _ = next(span for span in spans(data) if span[0].startswith("part"))
    file.write_bytes(data[: start + 40] + bytes([data[start + 40] ^ 1]) + data[start + 41 :])
    code, said = ask(file)
    assert code == CHANGED and f"  {part}: its bytes are not those that were sealed\n" in said
    code, said = ask(file, "--json")
    assert json.loads(said)["problems"] == [{"section": part, "problem": "its bytes are not those that were sealed"}]
    assert not json.loads(said)["ok"] and not json.loads(said)["complete"]

    file.write_bytes(incomplete)
    code, said = ask(file)
    assert code == INCOMPLETE and "Incomplete: 1 commits" in said and "it is rotten" in said
    assert ask(file, "--json")[0] == INCOMPLETE


def test_files_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (("empty", b""), ("other", line({"a": "b"})), ("random", bytes(range(256)) * 9)):
        (tmp_path / name).write_bytes(content)
        assert run([str(tmp_path / name)]) == WRONG_USAGE
        assert "not a history" in capsys.readouterr().err
    assert run([str(tmp_path / "nowhere")]) == WRONG_USAGE
    assert run([str(tmp_path)]) == WRONG_USAGE
    assert capsys.readouterr().err.count("\n") == 2
    monkeypatch.setattr(limits, "history_file_bytes_max", 1)
    assert run([str(tmp_path / "other")]) == WRONG_USAGE
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == WRONG_USAGE
