"""What some scenarios need of the machine: root, tools, devices. Where CI must have it, a lack is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def lacking(what: str) -> None:
    """Skip the test for the lack of something, or fail where CI must have it."""
    if os.environ.get("CRDTSYNC_CI") == "1":
        pytest.fail(what)
    pytest.skip(what)


def need_root(what_for: str) -> None:
    """Mounting, network namespaces and devices are for root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        lacking(f"{what_for} takes root")


def need_network_namespaces() -> None:
    """`ip netns` must work, and /dev/net/tun be there."""
    need_root("network namespaces")
    if shutil.which("ip") is None:
        lacking("network namespaces take the program `ip` (package iproute2)")
    if not Path("/dev/net/tun").exists():
        lacking("lines between sites take /dev/net/tun")
    made = subprocess.run(["ip", "netns", "add", "crdtsync-probe"], capture_output=True, text=True, check=False)
    if made.returncode and "File exists" not in made.stderr:
        lacking(f"this machine makes no network namespaces: {made.stderr.strip()}")
    subprocess.run(["ip", "netns", "del", "crdtsync-probe"], capture_output=True, check=False)
