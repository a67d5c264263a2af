"""Images for loop devices that are recorded: a process that serves :class:`journal.Disks` through FUSE.

    with Recorder(folder, {"nvme0": base / "nvme0.img"}) as recorder:
        ...                        # attach loop devices to recorder.path("nvme0"), work, let them go
        recorder.mark("half way")
        seen = recorder.finish()   # the journal in folder is complete; {image: blocks read before written}

The server is a process of its own and dies with the one that made it. The mount is in the mount namespace of the
caller: call :func:`private_mounts` first, and nothing stays mounted even when everything is killed.
"""

import contextlib
import ctypes
import os
import pickle
import select
import signal
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from . import fuse
from .journal import Blocks, Disks

CLONE_NEWNS = 0x20000
MS_PRIVATE_ALL = (1 << 18) | 16384
PR_SET_PDEATHSIG = 1
LENGTH = struct.Struct("<I")


class RecorderError(Exception):
    """The server is gone; the images can be neither read nor written."""


def private_mounts() -> None:
    """Give this process mounts of its own: what it mounts is gone when it and its children are."""
    for failed in (fuse.LIBC.unshare(CLONE_NEWNS), fuse.LIBC.mount(b"none", b"/", None, MS_PRIVATE_ALL, None)):
        if failed:
            raise OSError(ctypes.get_errno(), "no private mounts")


def receive(stream: socket.socket) -> Any:
    """Return the next message of a control socket, or None when the other end is closed."""
    data = b""
    wanted = LENGTH.size
    length = None
    while len(data) < wanted:
        piece = stream.recv(wanted - len(data))
        if not piece:
            return None
        data += piece
        if length is None and len(data) == wanted:
            length = wanted = LENGTH.unpack(data)[0]
            data = b""
    return pickle.loads(data)


def send(stream: socket.socket, message: object) -> None:
    """Send a message on a control socket."""
    data = pickle.dumps(message)
    stream.sendall(LENGTH.pack(len(data)) + data)


class Recorder:
    """One mount with recorded images."""

    pid: int

    def __init__(self, folder: str | Path, images: Mapping[str, Path]) -> None:
        """``images`` is {name: path of the base}; ``folder`` gets the mount point and the journal."""
        self.folder, self.images = Path(folder), dict(images)
        self.mounted = self.folder / "served"
        self.journal = self.folder / "journal"

    def path(self, name: str) -> Path:
        """Return the file that is the image."""
        return self.mounted / name

    def __enter__(self) -> Self:
        """Mount, and start the server."""
        self.mounted.mkdir(parents=True)
        self.control, theirs = socket.socketpair()
        self.marks, marks = socket.socketpair()
        requests = fuse.mount(self.mounted)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self.serve(requests, theirs, marks)
        finally:
            os.close(requests)
            theirs.close()
            marks.close()
        return self

    def serve(self, requests: int, control: socket.socket, marks: socket.socket) -> NoReturn:
        """Be the server process; does not return."""
        code = 1
        try:
            fuse.LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.control.close()
            self.marks.close()
            Server(requests, control, marks, Disks(self.journal, self.images)).run()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def ask(self, *message: object) -> Any:
        """Send a message to the server and return its answer; :class:`RecorderError` when it is gone."""
        try:
            send(self.control, message)
            answer = receive(self.control)
        except OSError:
            answer = None
        if answer is None:
            raise RecorderError(f"the server of {self.mounted} is gone")
        return answer[0]

    def begin(self, blocks: Blocks | None = None, data: Path | None = None) -> None:
        """Begin a new journal. The images hold ``blocks`` of the file ``data``, and their bases' elsewhere."""
        self.ask("begin", blocks, data)

    def mark(self, text: str) -> None:
        """Put a mark behind everything that was written so far."""
        self.ask("mark", text)

    def finish(self) -> dict[str, set[int]]:
        """Complete the journal and return {image: the blocks that were read before they were written}."""
        touched: dict[str, set[int]] = self.ask("finish")
        return touched

    def changed(self, names: Iterable[str]) -> dict[str, set[int]]:
        """Return {image: the blocks written that are not as in the base} for some of the images."""
        changed: dict[str, set[int]] = self.ask("changed", names)
        return changed

    def __exit__(self, *_: object) -> None:
        """Unmount and end the server."""
        self.control.close()
        self.marks.close()
        fuse.unmount(self.mounted)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Server:
    """The server's side: file requests, and messages from the recorder and from whoever sets marks."""

    def __init__(self, requests: int, control: socket.socket, marks: socket.socket, disks: Disks) -> None:
        """``marks`` takes one line for each mark, and answers with a byte."""
        self.files, self.control, self.marks, self.disks = fuse.Files(requests, disks), control, marks, disks

    def run(self) -> None:
        """Serve until the recorder or the mount goes away."""
        waiting = select.poll()
        for descriptor in (self.files.descriptor, self.control.fileno(), self.marks.fileno()):
            waiting.register(descriptor, select.POLLIN)
        going = True
        while going:
            ready = [descriptor for descriptor, _ in waiting.poll()]
            if self.files.descriptor in ready:
                going = self.files.serve_one()
            elif self.marks.fileno() in ready:
                going = self.take_mark()
            else:
                going = self.obey(receive(self.control))

    def take_mark(self) -> bool:
        """Take one mark from the tracer; False when the recorder is gone."""
        text = self.marks.recv(4096)
        if text:
            self.disks.mark(text.decode(errors="replace"))
            self.marks.send(b"+")
        return bool(text)

    def obey(self, message: tuple[Any, ...] | None) -> bool:
        """Do what the recorder asks; False when it is gone."""
        if message is None:
            return False
        what, *operands = message
        answer = None
        if what == "mark":
            self.disks.mark(*operands)
        elif what == "begin":
            self.disks.end_of_start()
            self.disks.begin(*operands)
        elif what == "changed":
            answer = self.disks.changed(*operands)
        elif what == "finish":
            self.disks.records.flush()
            answer = self.disks.touched
        send(self.control, (answer,))
        return True
