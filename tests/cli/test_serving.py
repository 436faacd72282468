"""serve, and the other verbs beside it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.cli.conftest import Call, Start


def test_ready_is_the_first_line_and_a_term_signal_ends_it_well(start: Start, jena: Path) -> None:
    serving = start("serve", jena)
    ready = serving.event()
    assert ready["event"] == "ready" and ready["site"] == "Jena"
    assert ready["listen"].startswith("127.0.0.1:") and not ready["listen"].endswith(":0")
    done = serving.stop()
    assert (done.code, done.err) == (0, "")


def test_verbs_give_the_same_beside_a_serve_and_alone(call: Call, start: Start, jena: Path) -> None:
    new = call("record", "new", jena, "patient", "family_name=Muster", "--author", "reception", "--json").json
    asks = [
        ("digest", jena), ("record", "show", jena, new["id"]), ("record", "list", jena, "patient"),
        ("query", jena, "SELECT family_name FROM patient"), ("search", jena, "muster"), ("conflicts", jena),
        ("members", jena), ("verify", jena),
    ]  # fmt: skip
    alone = [call(*ask, "--json").json for ask in asks]
    serving = start("serve", jena)
    serving.event()
    assert [call(*ask, "--json").json for ask in asks] == alone
    serving.stop()


def test_beside_a_serve_no_passphrase_is_needed(call: Call, start: Start, jena: Path) -> None:
    start("serve", jena).event()
    del os.environ["CRDTSYNC_PASSPHRASE"]
    assert call("record", "new", jena, "patient", "family_name=Muster", "--json").json["id"]


def test_a_refusal_is_the_same_beside_a_serve_and_alone(call: Call, start: Start, jena: Path) -> None:
    asks = [
        (("record", "new", jena, "patiant"), 2), (("record", "new", jena, "patient", "birth_date=x"), 2),
        (("record", "show", jena, "a" * 26), 1), (("query", jena, "DROP TABLE patient"), 2),
    ]  # fmt: skip
    alone = [call(*ask).refused(code) for ask, code in asks]
    start("serve", jena).event()
    beside = [call(*ask).refused(code) for ask, code in asks]
    # Other tests declare kinds of their own in this process, which the served one does not know.
    assert [text.split("Known are")[0] for text in beside] == [text.split("Known are")[0] for text in alone]


def test_a_second_serve_is_refused_at_once(call: Call, start: Start, jena: Path) -> None:
    start("serve", jena).event()
    assert "is being served already" in call("serve", jena).refused(1)


def test_a_port_that_is_taken_is_named(call: Call, jena: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in call("serve", jena, "--listen", address).refused(1)


def test_nonsense_for_an_address_is_refused(call: Call, jena: Path) -> None:
    for option in ("--listen", "--peer", "--advertise"):
        assert call("serve", jena, option, "nonsense").refused(2)


def test_after_a_kill_all_that_was_acknowledged_is_there(call: Call, start: Start, jena: Path) -> None:
    serving = start("serve", jena)
    serving.event()
    ids = {call("record", "new", jena, "patient", f"given_name=N{n}", "--json").json["id"] for n in range(5)}
    serving.kill()
    assert {each["id"] for each in call("record", "list", jena, "patient", "--json").json} == ids
    again = start("serve", jena)
    assert again.event()["event"] == "ready"
    assert call("digest", jena, "--json").json["records"] == 5
    assert call("verify", jena, "--json").json["ok"] is True
