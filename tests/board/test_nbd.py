"""The recording NBD server of the whole board keeps what it is told."""

import socket
import struct
from pathlib import Path

import pytest

from .cuts.journal import Cut, History, replay
from .machine import nbd


class Client:
    """As much of an NBD client as the server must understand."""

    def __init__(self, path: Path, name: str) -> None:
        """Connect and take an export; its size is then in ``size``."""
        self.link = socket.socket(socket.AF_UNIX)
        self.link.connect(str(path))
        assert nbd.receive(self.link, 18)[:16] == nbd.MAGIC + nbd.OPTIONS
        request = struct.pack(">I", len(name)) + name.encode() + struct.pack(">H", 0)
        self.link.sendall(struct.pack(">I", 1) + nbd.OPTIONS + struct.pack(">II", nbd.GO, len(request)) + request)
        while True:
            _, _, kind, length = struct.unpack(">QIII", nbd.receive(self.link, 20))
            data = nbd.receive(self.link, length)
            if kind == nbd.ACKNOWLEDGED:
                return
            assert kind == nbd.INFORMATION, hex(kind)
            if data[:2] == b"\0\0":
                self.size = struct.unpack(">Q", data[2:10])[0]

    def ask(self, kind: int, offset: int = 0, length: int = 0, data: bytes = b"", flags: int = 0) -> bytes:
        """Send a request and return what was read."""
        self.link.sendall(nbd.REQUEST.pack(nbd.REQUEST_MAGIC, flags, kind, 7, offset, length or len(data)) + data)
        magic, error, handle = nbd.REPLY.unpack(nbd.receive(self.link, nbd.REPLY.size))
        assert (magic, error, handle) == (nbd.REPLY_MAGIC, 0, 7)
        return nbd.receive(self.link, length) if kind == nbd.READ else b""


def test_the_server_records_and_keeps_the_images(tmp_path: Path) -> None:
    """Reads see the writes, the images do not change, and any moment can be made again."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.img").write_bytes(name.encode() * 20000)
    images = {name: tmp_path / f"{name}.img" for name in ("one", "two")}
    with nbd.Server(tmp_path / "port", tmp_path / "journal", images) as server:
        one, two = Client(tmp_path / "port", "one"), Client(tmp_path / "port", "two")
        assert one.size == 60000
        one.ask(nbd.WRITE, 5000, data=b"first")
        two.ask(nbd.WRITE, 0, data=b"second", flags=nbd.FUA)
        server.mark("here")
        one.ask(nbd.ZEROES, 8192, 4096)
        one.ask(nbd.FLUSH)
        assert one.ask(nbd.READ, 4998, 9) == b"onfirstne"
        assert one.ask(nbd.READ, 8192, 4096) == bytes(4096)
        assert two.ask(nbd.READ, 0, 8) == b"secondtw"
    assert images["one"].read_bytes() == b"one" * 20000
    history = History(tmp_path / "journal")
    assert [mark.text for mark in history.marks] == ["here"] and history.flushes == {"one": [0, 3], "two": [0, 2]}
    replay(history, Cut(1), tmp_path / "after-one")
    assert (tmp_path / "after-one/one.img").read_bytes()[5000:5005] == b"first"
    assert (tmp_path / "after-one/two.img").read_bytes() == b"two" * 20000


def test_the_server_knows_its_exports_only(tmp_path: Path) -> None:
    """An export that is not there is refused."""
    (tmp_path / "one.img").write_bytes(bytes(4096))
    with (
        nbd.Server(tmp_path / "port", tmp_path / "journal", {"one": tmp_path / "one.img"}),
        pytest.raises(AssertionError, match=hex(nbd.UNKNOWN)),
    ):
        Client(tmp_path / "port", "other")
