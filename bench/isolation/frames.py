"""What goes over the border: a JSON header, bytes behind it, and open files.

Nothing is pickled: what a method's process sends is read as text and numbers, never run.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

STATUS: Final = struct.Struct("!i")
"""What is told of a process beside its messages: its number, and later how it ended."""
_SIZES: Final = struct.Struct("!QQI")
_MAX_FILES: Final = 8
_MAX_HEADER: Final = 2**28
"""Bytes; a header holds what a method watched, not arrays."""


class Frame(NamedTuple):
    """One message."""

    header: dict[str, Any]
    blob: bytearray
    files: tuple[int, ...] = ()
    """File descriptors, which the receiver owns."""


def readable(files: Sequence[int], seconds: float) -> set[int]:
    """Which of these can be read, or were hung up, within that time; any number of files may be open."""
    waiting = select.poll()
    for file in files:
        waiting.register(file, select.POLLIN)
    return {file for file, _ in waiting.poll(max(seconds, 0) * 1000)}


def send(
    channel: socket.socket,
    header: Mapping[str, Any],
    blob: bytes | memoryview = b"",
    files: Sequence[int] = (),
) -> None:
    """Send one message; an OSError where nobody reads any more."""
    text = json.dumps(header).encode()
    view = memoryview(blob).cast("B")
    sizes = _SIZES.pack(len(text), len(view), len(files))
    if files:
        socket.send_fds(channel, [sizes], list(files))
    else:
        channel.sendall(sizes)
    channel.sendall(text)
    channel.sendall(view)


def receive(channel: socket.socket) -> Frame:
    """The next message; EOFError where there is none any more, ValueError for what is no message."""
    sizes, files = _receive_sizes(channel)
    n_text, n_blob, n_files = _SIZES.unpack(sizes)
    if n_text > _MAX_HEADER or n_files != len(files):
        for file in files:
            os.close(file)
        raise ValueError("what came is no message")
    header = json.loads(_receive_exactly(channel, n_text))
    if not isinstance(header, dict):
        raise ValueError("what came has no header")
    return Frame(header, _receive_exactly(channel, n_blob), tuple(files))


def _receive_sizes(channel: socket.socket) -> tuple[bytes, list[int]]:
    sizes, files, _, _ = socket.recv_fds(channel, _SIZES.size, _MAX_FILES)
    if not sizes:
        raise EOFError
    if len(sizes) < _SIZES.size:
        sizes += bytes(_receive_exactly(channel, _SIZES.size - len(sizes)))
    return sizes, list(files)


def _receive_exactly(channel: socket.socket, n_bytes: int) -> bytearray:
    found = bytearray(n_bytes)
    view = memoryview(found)
    done = 0
    while done < n_bytes:
        received = channel.recv_into(view[done:])
        if not received:
            raise EOFError
        done += received
    return found
