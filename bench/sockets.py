"""Kernel memory charged to a process's TCP sockets, asked of the kernel over netlink."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_DONE, _NLMSG_ERROR = 3, 2
_REQUEST_DUMP = 0x301
_INET_DIAG_SKMEMINFO = 7
_MESSAGE_HEAD, _DIAG_HEAD = 16, 72
_ALL_STATES = 0xFFFFFFFF


def kernel_bytes(pids: Sequence[int]) -> int:
    """Receive and send queues of all TCP sockets that these processes hold, overhead included."""
    inodes = {inode for pid in pids for inode in _socket_inodes(pid)}
    return sum(charged for inode, charged in _sockets() if inode in inodes)


def _socket_inodes(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def _sockets() -> Iterator[tuple[int, int]]:
    """Inode and bytes charged, of every IPv4 TCP socket."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        extensions = 1 << (_INET_DIAG_SKMEMINFO - 1)
        wanted = struct.pack(
            "=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, extensions, _ALL_STATES
        )
        head = struct.pack(
            "=IHHII", _MESSAGE_HEAD + len(wanted), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0
        )
        netlink.send(head + wanted)
        while True:
            block = netlink.recv(1 << 18)
            at = 0
            while at + _MESSAGE_HEAD <= len(block):
                length, kind = struct.unpack_from("=IH", block, at)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                yield _one(block[at + _MESSAGE_HEAD : at + length])
                at += (length + 3) & ~3


def _one(message: bytes) -> tuple[int, int]:
    inode = struct.unpack_from("=I", message, _DIAG_HEAD - 4)[0]
    at, charged = _DIAG_HEAD, 0
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _INET_DIAG_SKMEMINFO:
            received, _, _, _, _, queued = struct.unpack_from("=6I", message, at + 4)
            charged = received + queued
        at += (max(length, 4) + 3) & ~3
    return inode, charged
