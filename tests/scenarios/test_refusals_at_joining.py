"""Inviting and joining refused: one sentence that says what to do, and nobody becomes a member."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from crdtsync import Site, limits
from crdtsync.errors import InvitationRefused, NotAMember, RefusedError, Unreachable
from crdtsync.sealing.code import format_code, parse_code
from tests.scenarios.processes import PASSPHRASE, Done, Practice, Running, Server, free_port
from tests.scenarios.refusing import Call, Kept, refused


def test_inviting_without_serving(call: Call, jena: Server, kept: Kept) -> None:
    refused(call("invite", jena.folder, "--name", "Weimar"), 1, "start `serve` first")
    refused(call("confirm", jena.folder, "123456"), 1, f"crdtsync serve {jena.folder}")

    async def invite() -> None:
        async with Site.open(jena.folder, passphrase=PASSPHRASE) as site:
            await site.invite("Weimar")

    with pytest.raises(RefusedError, match="start `serve` first"):
        anyio.run(invite)


def test_invitations_that_cannot_be(call: Call, jena: Server) -> None:
    jena.serve()
    kept = Kept(call, jena)
    invite = ("invite", jena.folder)
    refused(call(*invite, "--name", "Jena"), 1, "named Jena already")
    refused(call(*invite, "--name", "  "), 2, "printable")
    refused(call(*invite, "--name", "X", "--role", "king"), 1, "king")
    refused(call(*invite, "--name", "X", "--address", "nonsense"), 2, "")
    refused(call("confirm", jena.folder, "123456"), 1, "nobody is joining")
    kept.check()


def members(server: Server) -> list[str]:
    return [member["name"] for member in server.ask("members")]


def test_a_code_that_is_used_or_mistyped(call: Call, jena: Server, practice: Practice) -> None:
    jena.serve()
    weimar, gera = practice.server("Weimar"), practice.server("Gera")
    code = jena.ask("invite", name="Weimar", role="site", admin=True, trust_code=True, address=None)["code"]
    mistyped = ("b" if code[9] != "b" else "c").join((code[:9], code[10:]))
    for text in (mistyped, code[:-3], "", "x", code[:20]):
        refused(call("join", weimar.folder, "--code", text), 1, "code")
    assert call("join", weimar.folder, "--code", code).code == 0
    refused(call("join", gera.folder, "--code", code), 1, "used")  # nobody is expected any more
    jena.ask("invite", name="Greiz", role="site", admin=True, trust_code=True, address=None)
    refused(call("join", gera.folder, "--code", code), 1, "used")  # somebody else is
    assert members(jena) == ["Jena", "Weimar"] and not gera.folder.exists()
    refused(call("join", weimar.folder, "--code", code), 1, "not empty")


def test_an_inviter_who_does_not_answer(call: Call, jena: Server, practice: Practice) -> None:
    jena.serve()
    weimar, nobody = practice.server("Weimar"), f"127.0.0.1:{free_port()}"
    code = jena.ask("invite", name="Weimar", role="site", admin=True, trust_code=True, address=nobody)["code"]
    refused(call("join", weimar.folder, "--code", code), 1, nobody)
    refused(call("join", weimar.folder, "--code", code, "--address", "nonsense"), 2, "")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # somebody else's program, which hangs up
        silent.settimeout(30)
        address = "127.0.0.1:{1}".format(*silent.getsockname())
        errors = weimar.folder.with_name("joining.stderr")
        joining = Running(errors, "join", weimar.folder, "--code", code, "--address", address)
        silent.accept()[0].close()
        assert joining.end(None) == 1
    refused(Done(1, "", joining.complaint()), 1, address)
    assert not weimar.folder.exists()
    assert call("join", weimar.folder, "--code", code, "--address", jena.address).code == 0  # it was not used up


def test_three_errors_void_a_code(call: Call, jena: Server, practice: Practice) -> None:
    jena.serve()
    weimar = practice.server("Weimar")
    code = jena.ask("invite", name="Weimar", role="site", admin=True, trust_code=False, address=None)["code"]
    joining = Running(weimar.folder.with_name("joining.stderr"), "join", weimar.folder, "--code", code)
    digits = jena.event("join")["digits"]
    wrong = f"{(int(digits) + 1) % 1_000_000:06}"
    for _ in range(limits.invitation_failures_max):
        refused(call("confirm", jena.folder, wrong), 1, "three errors void the code")
    assert joining.end(None) == 1
    shown, why = joining.complaint().splitlines()
    assert digits in shown and "not confirmed" in why and "new code" in why
    refused(call("confirm", jena.folder, digits), 1, "nobody is joining")
    refused(call("join", weimar.folder, "--code", code), 1, "new")
    assert members(jena) == ["Jena"] and not weimar.folder.exists()


@pytest.mark.anyio
async def test_guessing_the_secret_voids_a_code(call: Call, jena: Server, tmp_path: Path) -> None:
    async with Site.open(jena.folder, passphrase=PASSPHRASE) as site, site.serve():
        text = await site.invite("Weimar", trust_code=True)
        await site.invite("Gera", trust_code=True)  # so that the door stays open
        code = parse_code(text)
        guess = format_code(replace(code, secret=bytes(16)))
        for _ in range(limits.invitation_failures_max):
            done = await anyio.to_thread.run_sync(call, "join", tmp_path / "weimar", "--code", guess)
            refused(done, 1, "code")
        done = await anyio.to_thread.run_sync(call, "join", tmp_path / "weimar", "--code", text)
        refused(done, 1, "void")
        assert [member["name"] for member in site.members()] == ["Jena"]
    assert not (tmp_path / "weimar").exists()


@pytest.mark.anyio
async def test_an_expired_code(call: Call, jena: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Site.open(jena.folder, passphrase=PASSPHRASE) as site, site.serve():
        monkeypatch.setattr(limits, "invitation_seconds", 0.0)  # good until now, by the inviter's own clock
        code = await site.invite("Weimar", trust_code=True)
        refused(await anyio.to_thread.run_sync(call, "join", tmp_path / "weimar", "--code", code), 1, "too old")
        assert [member["name"] for member in site.members()] == ["Jena"]
    assert not (tmp_path / "weimar").exists()


@pytest.mark.anyio
async def test_a_code_lets_one_in_when_two_come_at_once(jena: Server, tmp_path: Path) -> None:
    outcomes: list[str] = []

    async def join(name: str) -> None:
        try:
            async with Site.join(tmp_path / name, code, passphrase=PASSPHRASE):
                outcomes.append("in")
        except (InvitationRefused, Unreachable, NotAMember):
            outcomes.append("refused")

    async with Site.open(jena.folder, passphrase=PASSPHRASE) as site, site.serve():
        code = await site.invite("Weimar", trust_code=True)
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(join, f"weimar{number}")
        assert sorted(outcomes) == ["in", "refused", "refused", "refused"]
        assert [member["name"] for member in site.members()] == ["Jena", "Weimar"]
