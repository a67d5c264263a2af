"""Read plans and write scripts: whole files, or nothing at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bootplan.report import visible
from bootplan.source import LARGEST_BYTES

LARGEST_IMAGE_BYTES = 1 << 30
"""More than any file of a release has: an image of a card is 512 MiB before it is compressed."""


class Unusable(Exception):
    """A file that cannot be read or written; the text says which and why."""


def read(name: str) -> bytes:
    """The bytes of the file *name*, - for standard input; not more than it takes to see that it is too large."""
    try:
        if name == "-":
            with open(0, "rb", closefd=False) as stream:
                return stream.read(LARGEST_BYTES + 1)
        with open(name, "rb") as stream:
            return stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise Unusable(f"{visible(name)}: {error.strerror}") from None


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The file *name* to be read from piece by piece, - for standard input."""
    try:
        with open(0, "rb", closefd=False) if name == "-" else open(name, "rb") as stream:
            yield stream
    except OSError as error:
        raise Unusable(f"{visible(name)}: {error.strerror}") from None


@contextmanager
def image(name: str) -> Iterator[BinaryIO]:
    """The file *name* to be read here and there; pipes and devices are none."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for its other end
        with open(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Unusable(f"{visible(name)}: this is no file")
            if os.fstat(handle).st_size > LARGEST_IMAGE_BYTES:
                raise Unusable(f"{visible(name)}: it has more than 1 GiB, and so is no file of a release")
            yield stream
    except OSError as error:
        raise Unusable(f"{visible(name)}: {error.strerror}") from None


def rewrite(name: str, old: bytes, new: bytes) -> None:
    """Write *new* to the file *name* that held *old*: it holds one of both at any time, and keeps mode and owner.

    A link stays, and what it points to is rewritten.
    """
    try:
        target = Path(os.path.realpath(name))
        facts = target.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise Unusable(f"{visible(name)}: this is no file")
        if not os.access(target, os.W_OK):
            raise Unusable(f"{visible(name)}: it may not be written to")
        with target.open("rb") as stream:
            if stream.read(len(old) + 1) != old:
                raise Unusable(f"{visible(name)}: somebody else changed it meanwhile")
        _replace(target, new, 0o600, facts)
    except OSError as error:
        raise Unusable(f"{visible(name)}: {error.strerror}") from None


def write_script(script: str, name: str, source: str) -> None:
    """Write *script* to the file *name*, executable, as `write_text` does."""
    write_text(script, name, source, 0o777)


def write_text(text: str, name: str, source: str, mode: int = 0o666) -> None:
    """Write *text* to the file *name*, of this *mode* under the user's mask; - is standard output.

    The file appears complete or not at all: it is written beside its place and moved there. The plan *source* is never
    overwritten, not even when it is standard input. A device or pipe cannot be replaced and is written to directly.
    """
    data = text.encode()
    try:
        if name == "-":
            with open(1, "wb", closefd=False) as stream:
                stream.write(data)
            return
        target = Path(name)
        if target.is_file():
            if os.path.samestat(target.stat(), os.fstat(0) if source == "-" else os.stat(source)):
                raise Unusable(f"{visible(name)}: this is the plan itself; choose another name for what is made")
        elif target.exists():
            target.write_bytes(data)
            return
        _replace(Path(os.path.realpath(name)), data, mode)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unusable(f"{visible(name)}: {error.strerror}") from None


def write_new(text: str, name: str, source: str) -> None:
    """Write *text* to the file *name*, as `write_text` does, but not over a file: that may be somebody's plan."""
    if name != "-" and os.path.isfile(name):
        raise Unusable(f"{visible(name)}: this file is there already; choose another name for the plan")
    write_text(text, name, source)


def _replace(target: Path, data: bytes, mode: int, like: os.stat_result | None = None) -> None:
    unfinished = target.with_name(f".bootplan.{os.getpid()}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(handle, "wb") as stream:
            stream.write(data)
            if like is not None:
                if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    with suppress(PermissionError):
                        os.fchown(handle, like.st_uid, like.st_gid)
                os.fchmod(handle, stat.S_IMODE(like.st_mode))
                stream.flush()
                os.fsync(handle)
        os.replace(unfinished, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise
