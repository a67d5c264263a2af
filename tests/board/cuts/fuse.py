"""A file system of a few files with fixed names and sizes, by the kernel's own FUSE protocol (linux/fuse.h, 7.31).

Written for loop devices: no cache of the kernel's keeps a write back, reads and writes come whole up to one MiB, and
fsync and fallocate arrive as such. A library would bring the file operations that nobody uses here.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

LIBC = ctypes.CDLL(None, use_errno=True)
MNT_DETACH = 2
MAX_BYTES = 1 << 20
MESSAGE_BYTES = MAX_BYTES + 8192
HEADER = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, extensions, padding
REPLY = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
ENTRY = struct.Struct("<QQQQII")
INIT = struct.Struct("<IIIIHHIIHHI28x")
ROOT = 1
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT_CALL = (
    1,
    2,
    3,
    4,
    14,
    15,
    16,
    17,
    18,
    20,
    25,
    26,
)
OPENDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE = 27, 29, 36, 38, 42, 43
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
DIRECT_IO = 1
FOREVER = 1 << 31
PUNCH_HOLE, ZERO_RANGE = 2, 16


class Served(Protocol):
    """What has the bytes of the files: the method names are those of :class:`journal.Disks`."""

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the files."""

    @property
    def size(self) -> Mapping[str, int]:
        """Return the bytes of each."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return what is there."""

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write."""

    def zero(self, name: str, offset: int, length: int) -> None:
        """Make zeros."""

    def flush(self, name: str) -> None:
        """Make what was written last."""


def mount(folder: Path) -> int:
    """Mount an empty FUSE file system on ``folder`` and return the descriptor its requests come from."""
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0"
    if LIBC.mount(b"cuts", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, f"fuse on {folder}: {os.strerror(number)}")
    return descriptor


def unmount(folder: Path) -> None:
    """Unmount, even when somebody still has a file of it."""
    if LIBC.umount2(os.fsencode(folder), MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"umount {folder}: {os.strerror(number)}")


class Files:
    """The files of one mount, served from ``disks``: an object with names, size, read, write, zero and flush."""

    def __init__(self, descriptor: int, disks: Served) -> None:
        """``descriptor`` is :func:`mount`'s."""
        self.descriptor, self.disks = descriptor, disks
        self.nodes = {ROOT + 1 + number: name for number, name in enumerate(disks.names)}

    def serve_one(self) -> bool:
        """Answer one request; False when the file system was unmounted."""
        try:
            message = memoryview(os.read(self.descriptor, MESSAGE_BYTES))
        except OSError as problem:
            if problem.errno == errno.ENODEV:
                return False
            if problem.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # the caller went away
                return True
            raise
        _, opcode, unique, node, *_ = HEADER.unpack_from(message)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return True
        try:
            answer, error = self.answer(opcode, node, message[HEADER.size :]), 0
        except OSError as problem:
            answer, error = b"", -(problem.errno or errno.EIO)
        with contextlib.suppress(FileNotFoundError):  # the request was interrupted
            os.writev(self.descriptor, [REPLY.pack(REPLY.size + len(answer), error, unique), answer])
        return bool(opcode != DESTROY)

    def answer(self, opcode: int, node: int, body: memoryview) -> bytes:
        """Return the answer to a request; :class:`OSError` for what is not offered."""
        name = self.nodes.get(node, "")
        if opcode == READ:
            _, offset, length = struct.unpack_from("<QQI", body)
            length = max(0, min(length, self.disks.size[name] - offset))
            return self.disks.read(name, offset, length) if length else b""
        if opcode == WRITE:
            _, offset, length = struct.unpack_from("<QQI", body)
            self.disks.write(name, offset, bytes(body[40 : 40 + length]))
            return struct.pack("<II", length, 0)
        if opcode == FSYNC:
            self.disks.flush(name)
            return b""
        if opcode == FALLOCATE:
            return self.fallocate(name, *struct.unpack_from("<QQQI", body))
        if opcode == LOOKUP:
            return self.lookup(bytes(body).rstrip(b"\0").decode())
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", FOREVER, 0, 0) + self.attributes(node)
        if opcode == INIT_CALL:
            return INIT.pack(7, 31, 0, BIG_WRITES | MAX_PAGES, 16, 12, MAX_BYTES, 1, MAX_BYTES // 4096, 0, 0)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, DIRECT_IO if opcode == OPEN else 0, 0)
        if opcode == STATFS:
            return struct.pack("<QQQQQIIII24x", 0, 0, 0, len(self.nodes), 0, 4096, 255, 4096, 0)
        if opcode in (RELEASE, RELEASEDIR, FLUSH, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not offered")

    def fallocate(self, name: str, _: int, offset: int, length: int, mode: int) -> bytes:
        """Make zeros; nothing else that fallocate can do makes sense here."""
        if not mode & (PUNCH_HOLE | ZERO_RANGE):
            raise OSError(errno.EOPNOTSUPP, "only holes and zeros")
        self.disks.zero(name, offset, min(length, self.disks.size[name] - offset))
        return b""

    def lookup(self, name: str) -> bytes:
        """Return the entry of a name in the only folder."""
        for node, known in self.nodes.items():
            if known == name:
                return ENTRY.pack(node, 0, FOREVER, FOREVER, 0, 0) + self.attributes(node)
        raise OSError(errno.ENOENT, "no such file")

    def attributes(self, node: int) -> bytes:
        """Return the attributes of the folder or of a file."""
        if node == ROOT:
            return ATTRIBUTES.pack(node, 0, 0, 0, 0, 0, 0, 0, 0, stat.S_IFDIR | 0o700, 2, 0, 0, 0, 4096, 0)
        size = self.disks.size[self.nodes[node]]
        return ATTRIBUTES.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, stat.S_IFREG | 0o600, 1, 0, 0, 0, 4096, 0)
