"""Recorded typing, as people really do it, through our text field: by characters, and over reloads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from crdtsync.documents import Document, EditText, Text, check_delta

CLIENT = 2**52


def trace(folder: Path, name: str) -> dict[str, Any]:
    with gzip.open(folder / "editing-traces" / name, "rt", encoding="utf-8") as file:
        loaded: dict[str, Any] = json.load(file)
    return loaded


def typed(document: Document, text: str, patches: list[list[Any]], sequence: int) -> tuple[str, bytes]:
    """Commit patches `[position, deleted, inserted]` as one transaction."""
    handle = Text.as_read(text)
    for position, deleted, inserted in patches:
        handle.delete(position, deleted)
        handle.insert(position, inserted)
    edit = EditText("t", text, handle.hunks())
    delta = document.write(tag="aaaaaaaa", sequence=sequence, stamp=sequence, edits=[edit])
    return str(handle), delta


@pytest.mark.parametrize("name", ["friendsforever_flat.json.gz", "sveltecomponent.json.gz"])
def test_sequential_typing_gives_the_recorded_text(test_data: Path, name: str) -> None:
    recorded = trace(test_data, name)
    document, reader = Document(CLIENT), Document(7)
    text = recorded.get("startContent", "")
    patches = [patch for transaction in recorded["txns"] for patch in transaction["patches"]]
    model = text
    for start in range(0, len(patches), 20):
        for position, deleted, inserted in patches[start : start + 20]:
            model = model[:position] + inserted + model[position + deleted :]
        text, delta = typed(document, text, patches[start : start + 20], start + 1)
        assert text == model
        if delta:
            check_delta(delta, CLIENT)
            reader.apply(delta)
        if start % 1000 == 0:
            document = Document(CLIENT, document.state())
    assert document.content().texts["t"] == reader.content().texts["t"] == model == recorded["endContent"]


def test_concurrent_typing_converges(test_data: Path) -> None:
    """The recorded graph of two people: each transaction on the text its author saw, exchanged where they met."""
    recorded = trace(test_data, "friendsforever_concurrent.json.gz")
    agents = recorded["numAgents"]
    documents = [Document(CLIENT + agent) for agent in range(agents)]
    deltas: list[bytes] = []
    known: list[set[int]] = [set() for _ in range(agents)]
    past: list[set[int]] = []
    for index, transaction in enumerate(recorded["txns"][:1500]):
        agent = transaction["agent"]
        needed = set().union(*(past[parent] | {parent} for parent in transaction["parents"]), known[agent])
        for missing in sorted(needed - known[agent]):
            if deltas[missing]:
                documents[agent].apply(deltas[missing])
        text = documents[agent].content().texts.get("t", "")
        patches = [[min(p, len(text)), 0, i] for p, _, i in transaction["patches"] if i]
        _, delta = typed(documents[agent], text, patches, index + 1)
        deltas.append(delta)
        past.append(needed)
        known[agent] = needed | {index}
    for agent, document in enumerate(documents):
        for missing in sorted(set(range(len(deltas))) - known[agent]):
            if deltas[missing]:
                document.apply(deltas[missing])
    first = documents[0].content().texts["t"]
    assert len(first) > 1000
    assert all(document.content().texts["t"] == first for document in documents)
