"""What the operating system is asked for."""

from __future__ import annotations

import socket
import sys

import anyio
import pytest
from anyio.abc import SocketAttribute

from crdtsync import limits
from crdtsync.transport.tcp import limit_unsent, tune


@pytest.mark.anyio
async def test_small_messages_go_at_once_dead_lines_show_and_little_lies_unsent() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as opened:
        stream = await anyio.connect_tcp("127.0.0.1", opened.extra(SocketAttribute.local_port))
        async with stream:
            tune(stream)
            raw = stream.extra(SocketAttribute.raw_socket)
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if sys.platform == "linux":
                lowat = socket.TCP_NOTSENT_LOWAT
                assert raw.getsockopt(socket.IPPROTO_TCP, lowat) == limits.unsent_bytes_min
                for asked, given in ((1 << 20, limits.unsent_bytes_max), (1, limits.unsent_bytes_min), (50_000,) * 2):
                    limit_unsent(stream, asked)
                    assert raw.getsockopt(socket.IPPROTO_TCP, lowat) == given
