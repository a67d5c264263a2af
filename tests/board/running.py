"""A command that runs on a live root: its output, signals, terminal and end; and files there, by commands."""

import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

Input = str | bytes
Command = str | Sequence[str]
"""Text for the router's shell, or words."""


class Timeout(Exception):
    """A command did not end in time; it was killed. The text has what it printed."""


@dataclass(frozen=True)
class Result:
    """What a command did: exit code (128 + N after signal N), both outputs, seconds."""

    code: int
    out: str
    err: str
    seconds: float

    def ok(self) -> Self:
        """Return the result itself when the command succeeded; :class:`AssertionError` with its outputs otherwise."""
        if self.code != 0:
            raise AssertionError(f"exit code {self.code}\n{self.out}{self.err}")
        return self


@dataclass
class Running:
    """A command that runs in the router, in a session of its own.

    ``pid`` is its process id on the host. On a terminal both outputs come together in ``out``.
    """

    process: subprocess.Popen[bytes]
    pid: int
    files: tuple[str | None, str | None]
    terminal: int = -1
    started: float = field(default_factory=time.monotonic)
    typed: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        """Start to read the terminal, because a program that fills it would stand still."""
        self.reader = threading.Thread(target=self._read_terminal, daemon=True)
        if self.terminal >= 0:
            self.reader.start()

    def _read_terminal(self) -> None:
        """Collect what appears on the terminal until it is hung up."""
        while self.terminal >= 0:
            try:
                if select.select([self.terminal], [], [], 0.05)[0]:
                    self.typed += os.read(self.terminal, 65536)
            except (OSError, ValueError):
                return

    @property
    def out(self) -> str:
        """Return what was printed so far."""
        if self.files[0] is None:
            return self.typed.decode(errors="replace").replace("\r\n", "\n")
        return Path(self.files[0]).read_text(errors="replace")

    @property
    def err(self) -> str:
        """Return what was printed on standard error so far."""
        return "" if self.files[1] is None else Path(self.files[1]).read_text(errors="replace")

    def type(self, text: str) -> None:
        """Type on the terminal."""
        os.write(self.terminal, text.encode())

    def hang_up(self) -> None:
        """Close the terminal, as a broken SSH connection does: the session gets SIGHUP."""
        descriptor, self.terminal = self.terminal, -1
        self.reader.join()
        os.close(descriptor)

    def send(self, number: int, group: bool = True) -> None:
        """Send a signal to the command's process group, or to its first process only."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def kill(self) -> Result:
        """Kill the command's process group and wait for its end."""
        self.send(signal.SIGKILL)
        return self.wait(10)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self.process.poll()

    def wait(self, timeout: float = 60) -> Result:
        """Wait for the end and return the :class:`Result`; :class:`Timeout` after killing it when it takes too long."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()
            raise Timeout(f"no end after {timeout} s\n{self.out}{self.err}") from None
        finally:
            seconds = time.monotonic() - self.started
        if self.terminal >= 0:
            self.reader.join(2)  # the last words: the reader ends when nobody has the terminal open any more
            self.hang_up()
        return Result(code, self.out, self.err, seconds)


def match_in(pattern: str, text: str, flags: int = 0) -> re.Match[str]:
    """Return where the pattern is in a text; :class:`AssertionError` with the text when it is not."""
    found = re.search(pattern, text, flags)
    assert found, text
    return found


class Files(ABC):
    """Files on a live root, for a class that has ``run``."""

    @abstractmethod
    def run(
        self, command: Command, timeout: float = 60, *, env: Mapping[str, str] | None = None, input: Input | None = None
    ) -> Result:
        """Run a command to its end and return its :class:`Result`; :class:`Timeout` after ``timeout`` seconds."""

    @abstractmethod
    def reboot(self) -> Self:
        """Sync, switch off, boot."""

    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Return {image: sha256} of every disk image, after a sync."""

    def put(self, path: str, content: Input, mode: int = 0o644) -> None:
        """Write a file on the live root, making the folders above it."""
        name = shlex.quote(path)
        folder = shlex.quote(os.path.dirname(path) or "/")
        self.run(f"mkdir -p {folder} && cat > {name} && chmod {mode:o} {name}", input=content).ok()

    def read(self, path: str) -> str:
        """Return the text of a file on the live root."""
        return self.run(f"cat {shlex.quote(path)}").ok().out

    def exists(self, path: str) -> bool:
        """Tell whether a name is there on the live root, even as a link to nothing."""
        name = shlex.quote(path)
        return self.run(f"[ -e {name} ] || [ -L {name} ]").code == 0
