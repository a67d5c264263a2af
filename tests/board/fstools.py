"""What fstools reads to choose the root: the fstab, the file systems on the partitions, the squashfs's UUID."""

import hashlib
import shlex
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

EXT4_MAGIC = 0xEF53
F2FS_MAGIC = 0xF2F52010


@dataclass(frozen=True)
class FileSystem:
    """A file system found on a device: its type, UUID and label."""

    type: str
    uuid: str
    label: str


def probe(path: str | Path) -> FileSystem | None:
    """Return the :class:`FileSystem` on a block device or image, or None for anything but ext2/3/4 and f2fs."""
    with open(path, "rb") as device:
        block = device.read(4096)
    if len(block) < 4096:
        return None
    if struct.unpack_from("<H", block, 1024 + 0x38)[0] == EXT4_MAGIC:
        label = block[1024 + 0x78 : 1024 + 0x88].split(b"\0")[0].decode(errors="replace")
        return FileSystem("ext4", str(uuid.UUID(bytes=block[1024 + 0x68 : 1024 + 0x78])), label)
    if struct.unpack_from("<I", block, 1024)[0] == F2FS_MAGIC:
        label = block[1024 + 0x7C : 1024 + 0x7C + 1024 : 2].split(b"\0")[0].decode("latin-1")
        return FileSystem("f2fs", str(uuid.UUID(bytes=block[1024 + 0x6C : 1024 + 0x7C])), label)
    return None


def squashfs_uuid(path: str | Path) -> str:
    """Return the identity of a squashfs as fstools makes it up: the MD5 of the superblock, its bytes backwards."""
    with open(path, "rb") as image:
        words = hashlib.md5(image.read(96), usedforsecurity=False).digest()[::-1].hex()
    return "-".join(words[at : at + 8] for at in range(0, 32, 8))


def sections(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the sections of a UCI file as a list of (type, options); of a list the last value counts.

    A line with an open quotation mark is passed over.
    """
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if len(words) >= 2 and words[0] == "config":
            found.append((words[1], {}))
        elif len(words) >= 3 and words[0] in ("option", "list") and found:
            found[-1][1][words[1]] = words[2]
    return found


def mounts(fstab: str | Path) -> list[dict[str, str]]:
    """Return the options of every enabled ``mount`` section of the fstab at this path; none when it is not there."""
    path = Path(fstab)
    if not path.is_file():
        return []
    return [
        options
        for kind, options in sections(path.read_text(errors="replace"))
        if kind == "mount" and options.get("enabled", "1") in ("1", "on", "true", "yes", "enabled")
    ]


def extroot_of(entries: list[dict[str, str]]) -> dict[str, str] | None:
    """Return the mount that replaces the root: the first with target ``/``, else the first with ``/overlay``."""
    for target in ("/", "/overlay"):
        for options in entries:
            if options.get("target") == target:
                return options
    return None
