"""Serve the board's media to QEMU over NBD and record every write, in one order over all of them.

The images themselves stay as they are: what is written goes into a journal (:mod:`board.cuts.journal`), from which the
media can be made as a power cut at any moment would have left them.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from ..cuts.journal import Disks

MAGIC, OPTIONS, OPTION_REPLY = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
FIXED_NEW_STYLE = 1
ABORT, INFO, GO = 2, 6, 7
ACKNOWLEDGED, INFORMATION, UNSUPPORTED, UNKNOWN = 1, 3, 0x80000001, 0x80000006
EXPORT_SIZE, BLOCK_SIZES = 0, 3
LARGEST = 32 << 20
HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_ZEROES = 1, 4, 8, 32, 64
FEATURES = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_ZEROES
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
FUA = 1
REQUEST, REPLY = struct.Struct(">IHHQQI"), struct.Struct(">IIQ")
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698


class ProtocolError(Exception):
    """The client does not speak as expected."""


def receive(link: socket.socket, size: int) -> bytes:
    """Return exactly so many bytes; :class:`ConnectionError` when the client is gone."""
    pieces = []
    while size:
        piece = link.recv(min(size, 1 << 20))
        if not piece:
            raise ConnectionError("the client is gone")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class Server:
    """An NBD server on a socket of the file system, with one export for each image. Use it as a context manager."""

    def __init__(self, path: str | Path, folder: str | Path, images: Mapping[str, Path]) -> None:
        """Serve ``images`` ({name: path}) at the socket ``path``; the journal goes to ``folder``."""
        self.path, self.folder, self.images = Path(path), Path(folder), dict(images)
        self.lock = threading.Lock()
        self.links: list[tuple[socket.socket, threading.Thread]] = []

    def __enter__(self) -> Self:
        """Start to serve."""
        self.disks = Disks(self.folder, self.images)
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything; the journal is complete then."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for link, thread in self.links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            thread.join(10)
        with self.lock:
            self.disks.close()
        self.path.unlink(missing_ok=True)

    def accept(self) -> None:
        """Give each client a thread."""
        while True:
            try:
                link, _ = self.socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(link,), daemon=True)
            self.links.append((link, thread))
            thread.start()

    def mark(self, text: str) -> None:
        """Note a moment in the journal."""
        with self.lock:
            self.disks.mark(text)

    def serve(self, link: socket.socket) -> None:
        """Serve one client until it goes."""
        with link, contextlib.suppress(ConnectionError, ProtocolError, OSError):
            name = self.negotiate(link)
            while name is not None and self.answer(link, name):
                pass

    def negotiate(self, link: socket.socket) -> str | None:
        """Agree with the client on an export and return its name, or None when it only asked."""
        link.sendall(MAGIC + OPTIONS + struct.pack(">H", FIXED_NEW_STYLE))
        receive(link, 4)
        while True:
            magic, option, length = struct.unpack(">8sII", receive(link, 16))
            if magic != OPTIONS:
                raise ProtocolError("no option")
            data = receive(link, length)

            def reply(kind: int, content: bytes = b"", option: int = option) -> None:
                """Answer the option."""
                link.sendall(struct.pack(">QIII", OPTION_REPLY, option, kind, len(content)) + content)

            if option == ABORT:
                reply(ACKNOWLEDGED)
                return None
            if option not in (INFO, GO):
                reply(UNSUPPORTED)
                continue
            name = data[4 : 4 + struct.unpack(">I", data[:4])[0]].decode()
            if name not in self.images:
                reply(UNKNOWN)
                continue
            reply(INFORMATION, struct.pack(">HQH", EXPORT_SIZE, self.disks.size[name], FEATURES))
            reply(INFORMATION, struct.pack(">HIII", BLOCK_SIZES, 1, 4096, LARGEST))
            reply(ACKNOWLEDGED)
            if option == GO:
                return name

    def answer(self, link: socket.socket, name: str) -> bool:
        """Do one request; tell whether there may be another."""
        magic, flags, kind, handle, offset, length = REQUEST.unpack(receive(link, REQUEST.size))
        if magic != REQUEST_MAGIC:
            raise ProtocolError("no request")
        data = receive(link, length) if kind == WRITE else b""
        if kind == DISCONNECT:
            return False
        with self.lock:
            if kind == READ:
                data = self.disks.read(name, offset, length)
            elif kind == WRITE:
                self.disks.write(name, offset, data)
            elif kind in (TRIM, ZEROES):
                self.disks.zero(name, offset, length)
            elif kind != FLUSH:
                raise ProtocolError(f"request {kind}")
            if kind == FLUSH or flags & FUA:
                self.disks.flush(name)
        link.sendall(REPLY.pack(REPLY_MAGIC, 0, handle) + (data if kind == READ else b""))
        return True
