"""What the command line refuses: one sentence on stderr that says what to do, exit 1 or 2, and nothing is changed."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from crdtsync import Site, limits
from crdtsync.cli import perform
from crdtsync.errors import AlreadyOpen
from tests.scenarios.processes import PASSPHRASE, Server, free_port
from tests.scenarios.refusing import Call, Kept, refused

# --- what people write -----------------------------------------------------------------------------------------------

WRONG = [
    (("record new", "patiant", "family_name=X"), 2, "did you mean patient?"),
    (("record new", "patient", "family=X"), 2, "patient has no field 'family'"),
    (("record new", "patient", "family_name=X", "birth_date=yesterday"), 2, "birth_date"),
    (("record new", "patient", "family_name=X", "number=twelve"), 2, "number"),
    (("record new", "patient", "insurance_number=A123456789"), 2, "insurance_number"),
    (("record new", "patient", "phones={"), 2, "phones"),
    (("record new", "patient", "family_name"), 2, "FIELD=VALUE"),
    (("record new", "patient", "family_name=X", "family_name=Y"), 2, "twice"),
    (("record new", "appointment", 'slot={"start": 5}'), 2, "slot"),
    (("record new", "visit", "status=sleeping"), 2, "status"),
    (("record list", "patiant"), 2, "did you mean patient?"),
    (("record list", "patient", "colour=red"), 2, "colour"),
    (("record show", "nonsense"), 1, "nonsense"),
    (("record show", "a" * 26), 1, "a" * 26),
    (("record set", "a" * 26, "family_name=X"), 1, "a" * 26),
    (("record set", "ID", "colour=red"), 2, "colour"),
    (("record set", "ID", "birth_date=32.13.1964"), 2, "birth_date"),
    (("record set", "ID"), 2, "FIELD=VALUE"),
    (("query", "DROP TABLE patient"), 2, ""),
    (("query", "DELETE FROM patient"), 2, ""),
    (("query", "SELECT 1 FROM nowhere"), 2, "nowhere"),
    (("query", ""), 2, ""),
    (("confirm", "12345"), 2, "six digits"),
    (("invite",), 2, "--name"),
    (("frobnicate",), 2, "frobnicate"),
    (("status", "--frobnicate"), 2, "--frobnicate"),
]


@pytest.mark.parametrize("served", [False, True], ids=["alone", "beside a serve"])
def test_wrong_words(call: Call, jena: Server, served: bool) -> None:
    if served:
        jena.serve()
    kept = Kept(call, jena)
    (patient,) = call("record", "list", jena.folder, "patient", "--json").json
    for (verb, *words), code, hint in WRONG:
        done = call(*verb.split(), jena.folder, *(patient["id"] if word == "ID" else word for word in words))
        refused(done, code, hint)
    kept.check()


def bad_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that are no bundle, and what is said of them."""
    good = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": []}).encode()
    yield folder / "missing.json", "there is no file"
    contents = {
        "text.json": (b"Dear colleague,", "JSON"),
        "empty.json": (b"", "JSON"),
        "patient.json": (b'{"resourceType": "Patient", "id": "1"}', "Bundle"),
        "list.json": (b"[]", "Bundle"),
        "latin1.json": ('{"resourceType": "Bündel"}'.encode("latin-1"), ""),
        "bomb.json": (b"[" * 200_000, ""),
        "truncated.json.gz": (gzip.compress(good * 50)[:-20], "gz"),
        "half.json.gz": (gzip.compress(good)[: len(gzip.compress(good)) // 2], "gz"),
        "no.json.gz": (good, "gz"),
    }
    for name, (content, hint) in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name, hint
    yield folder, "there is no file"


@pytest.mark.parametrize("served", [False, True], ids=["alone", "beside a serve"])
def test_files_that_are_no_bundles(call: Call, jena: Server, tmp_path: Path, served: bool) -> None:
    if served:
        jena.serve()
    kept = Kept(call, jena)
    patient = {"resourceType": "Patient", "id": "1", "name": [{"family": "Muster"}]}
    good = tmp_path / "good.json"
    good.write_text(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": patient}]}))
    folder = tmp_path / "files"
    folder.mkdir()
    for file, hint in bad_files(folder):
        done = call("import", jena.folder, good, file)
        refused(done, 2, hint)
        assert file.name in done.err
    kept.check()
    assert call("import", jena.folder, good, "--json").json["created"] == 1


# --- folders and keys ------------------------------------------------------------------------------------------------

VERBS = ["status", "digest", "members", "conflicts", "verify", "rebuild", "serve", "record list patient"]


def test_a_folder_that_is_no_replica(call: Call, tmp_path: Path) -> None:
    empty, other, file = tmp_path / "empty", tmp_path / "other", tmp_path / "file"
    empty.mkdir()
    other.mkdir()
    (other / "letter.txt").write_text("Dear colleague,")
    file.write_text("")
    for folder in (tmp_path / "missing", empty, other, file):
        for verb in VERBS:
            name, *words = verb.rsplit(" ", 1) if verb.startswith("record") else (verb,)
            refused(call(*name.split(), folder, *words), 1, str(folder))
    assert [path.name for path in other.iterdir()] == ["letter.txt"] and not list(empty.iterdir())
    assert not (tmp_path / "missing").exists()


def test_a_wrong_passphrase(call: Call, jena: Server, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as wrong:
        wrong.setenv("CRDTSYNC_PASSPHRASE", "battery staple")
        for words in (["digest", jena.folder], ["serve", jena.folder], ["record", "new", jena.folder, "patient"]):
            refused(call(*words), 1, "passphrase")
        wrong.setenv("CRDTSYNC_PASSPHRASE", "")
        refused(call("digest", jena.folder), 2, "passphrase is empty")
        wrong.delenv("CRDTSYNC_PASSPHRASE")
        refused(call("digest", jena.folder), 2, "CRDTSYNC_PASSPHRASE")
        refused(call("digest", jena.folder, "--passphrase-file", jena.folder / "none"), 1, "cannot be read")


def test_a_damaged_key_file(call: Call, jena: Server, kept: Kept) -> None:
    file = jena.folder / "replica.key"
    whole = file.read_bytes()
    damaged = [b"", b"nonsense", whole[:-1], whole[: len(whole) // 2], whole + b"x", b"\0" * len(whole)]
    damaged += [flipped(whole, place) for place in range(0, len(whole), 7)]
    for content in damaged:
        file.write_bytes(content)
        done = call("digest", jena.folder)
        refused(done, 1, "")
        assert "key file" in done.err or "passphrase" in done.err or "version" in done.err, done
    file.write_bytes(whole)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_damaged_log(call: Call, jena: Server) -> None:
    (jena.folder / "log.db").write_bytes(b"nonsense" * 1_000)
    refused(call("digest", jena.folder), 1, "log.db")


def test_a_second_writer(call: Call, jena: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    jena.serve()
    kept = Kept(call, jena)
    refused(call("serve", jena.folder), 1, "is being served already")

    async def open_it() -> None:
        async with Site.open(jena.folder, passphrase=PASSPHRASE):
            pass

    with pytest.raises(AlreadyOpen, match="another process"):
        anyio.run(open_it)
    kept.check()


@pytest.mark.anyio
async def test_a_writer_beside_a_program(call: Call, jena: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perform, "lock_wait_s", 0.1)
    async with Site.open(jena.folder, passphrase=PASSPHRASE) as site:
        before = await site.digest()
        done = await anyio.to_thread.run_sync(call, "record", "new", jena.folder, "patient")
        refused(done, 1, "another process")
        assert await site.digest() == before


def test_a_place_that_is_taken(call: Call, jena: Server, kept: Kept) -> None:
    refused(call("create", jena.folder, "--practice", "P", "--site", "S"), 1, "not empty")
    refused(call("create", jena.folder / "a" / "b", "--practice", "P", "--site", "S"), 1, "make it first")
    assert not (jena.folder / "a").exists()


# --- network ---------------------------------------------------------------------------------------------------------


def test_a_port_in_use(call: Call, jena: Server, kept: Kept) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:{1}".format(*taken.getsockname())
        done = call("serve", jena.folder, "--listen", address)
    refused(done, 1, address)
    assert "another port" in done.err


def test_addresses_that_are_none(call: Call, jena: Server, kept: Kept) -> None:
    for option in ("--listen", "--peer", "--advertise"):
        for address in ("nonsense", "127.0.0.1:99999", "127.0.0.1:", ":", ""):
            refused(call("serve", jena.folder, option, address), 2, "")


def test_a_peer_that_nobody_reaches_delays_nothing(jena: Server) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    jena.serve(nobody, "192.0.2.1:7000")  # a port where nobody listens, and a network that does not exist (RFC 5737)
    assert jena.ready_s < limits.dial_timeout_s
    assert nobody in jena.event("unreachable")["text"]
    jena.write("patient", family_name="Weber")
    assert jena.digest()["records"] == 2
