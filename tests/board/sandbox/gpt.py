"""The partition table of a card as OpenWrt's images bring it, how two partitions are added, and who reads it how.

OpenWrt's ``ptgen`` (openwrt/firmware-utils, called by ``Build/mt798x-gpt``) writes the primary table alone. It ends
with ``production``, and there is no backup table anywhere. The SD card has a hybrid MBR, with ``bl2`` as its active
entry; the eMMC has an entry 128 for the gap before the first partition.

Adding partitions with :func:`safe_writes` writes three single sectors. The first is a header whose table is so short
that it ends before the new entries, the second has the new entries, the third is the header of the whole table. Each
header has the right sums for what the card holds at that moment. sfdisk itself makes the sectors, on a file. Who does
it must keep what ``sfdisk --dump`` said before: a short table does not tell of entry 128, and the whole one needs it.
"""

import binascii
import re
import struct
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .. import images
from ..cache import command
from .cuts import CardWrite

SECTOR = 512
ENTRIES, ENTRY_BYTES, ENTRIES_LBA = 128, 128, 2
TABLE_SECTORS = ENTRIES_LBA + ENTRIES * ENTRY_BYTES // SECTOR
BACKUP_SECTORS = TABLE_SECTORS - 1
IN_A_SECTOR = SECTOR // ENTRY_BYTES
HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
ENTRY = struct.Struct("<16s16sQQQ72s")
DISK = uuid.UUID("5452574f-2211-4433-5566-778899aabb00")
LINUX, SYSTEM, FIT, GAP = (
    uuid.UUID(text)
    for text in (
        "0fc63daf-8483-4772-8e79-3d69d8477de4",
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        "cae9be83-b15f-49cc-863f-081b744a2d93",
        "21686148-6449-6e6f-744e-656564454649",
    )
)
TYPES = {"fip": SYSTEM, "recovery": SYSTEM, "install": SYSTEM, "production": FIT}
REQUIRED, ACTIVE = 1, 4
MORE = {"fit_a": 24 * images.MiB, "fit_b": 24 * images.MiB}
SFDISK = ("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel")


def partition_id(number: int) -> bytes:
    """Return the GUID that ptgen gives to a partition: the disk's, with the number in its last byte."""
    return DISK.bytes_le[:15] + bytes([number])


def stock(medium: str) -> bytes:
    """Return the first sectors of a card as OpenWrt's image has them: MBR, header and entries."""
    entries = bytearray(ENTRIES * ENTRY_BYTES)
    pieces = [(name, offset * 2, (offset + size) * 2 - 1) for name, offset, size in images.GPT[medium]]
    for index, (name, first, last) in enumerate(pieces):
        flags = (0 if name == "production" else REQUIRED) | (0 if index else ACTIVE)
        ENTRY.pack_into(
            entries,
            index * ENTRY_BYTES,
            TYPES.get(name, LINUX).bytes_le,
            partition_id(index + 1),
            first,
            last,
            flags,
            name.encode("utf-16le"),
        )
    if pieces[0][1] > TABLE_SECTORS:
        ENTRY.pack_into(
            entries,
            (ENTRIES - 1) * ENTRY_BYTES,
            GAP.bytes_le,
            partition_id(ENTRIES),
            TABLE_SECTORS,
            pieces[0][1] - 1,
            0,
            b"",
        )
    last = pieces[-1][2]
    backup = last + BACKUP_SECTORS
    fields = [
        b"EFI PART",
        0x10000,
        HEADER.size,
        0,
        0,
        1,
        backup,
        TABLE_SECTORS,
        last,
        DISK.bytes_le,
        ENTRIES_LBA,
        ENTRIES,
        ENTRY_BYTES,
        binascii.crc32(entries),
    ]
    fields[3] = binascii.crc32(HEADER.pack(*fields))
    mbr = bytearray(SECTOR)
    struct.pack_into("<8xII", mbr, 446, 1, backup)
    mbr[450] = 0xEE
    if medium == "sd":
        struct.pack_into("<8xII", mbr, 462, pieces[0][1], pieces[0][2] - pieces[0][1] + 1)
        mbr[462], mbr[466] = 0x80, 0x83
    mbr[510:] = b"\x55\xaa"
    return bytes(mbr) + HEADER.pack(*fields).ljust(SECTOR, b"\0") + bytes(entries)


def write(card: Path, medium: str) -> None:
    """Write the stock table on a card that has another one, and clear the other's backup."""
    with open(card, "r+b") as image:
        image.write(stock(medium))
        image.seek(images.GPT_BYTES - BACKUP_SECTORS * SECTOR)
        image.write(bytes(BACKUP_SECTORS * SECTOR))


def read(card: Path, sector: int, count: int = 1) -> bytes:
    """Return sectors of a card."""
    with open(card, "rb") as image:
        image.seek(sector * SECTOR)
        return image.read(count * SECTOR)


def scratch(card: Path, file: Path, lines: Iterable[str]) -> None:
    """Make a file with the card's first sectors and size, and the table of ``lines`` written to it by sfdisk."""
    images.sparse(file, card.stat().st_size)
    with open(file, "r+b") as image:
        image.write(read(card, 0, TABLE_SECTORS))
    subprocess.run([*SFDISK, str(file)], input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)


def dumped(card: Path) -> list[str]:
    """Return what sfdisk says of a card's table, as lines."""
    return command(["sfdisk", "--dump", card]).splitlines()


def number_in(pattern: str, text: str) -> int:
    """Return the number that a pattern finds in a text."""
    found = re.search(pattern, text)
    assert found, text
    return int(found[1])


def safe_writes(card: Path, work: Path, dump: list[str] | None = None) -> list[CardWrite]:
    """Return the writes that add the partitions of :data:`MORE` behind the last one, as those of a recording.

    ``work`` is a folder for the files on which sfdisk makes the sectors. ``dump`` is :func:`dumped` from before the
    first of these writes, where a cut came between them.
    """
    last_lba = card.stat().st_size // SECTOR - TABLE_SECTORS
    dump = dump or dumped(card)
    head = [
        f"last-lba: {last_lba}" if line.startswith("last-lba") else line
        for line in dump
        if ":" in line and " : " not in line
    ]
    old = {number_in(r"(\d+) : ", line): line for line in dump if " : " in line}
    length = -(-max(number for number in old if number < ENTRIES) // IN_A_SECTOR) * IN_A_SECTOR
    start = number_in(r"last-lba: (\d+)", "\n".join(dump)) + 1
    new = []
    for number, (name, size) in enumerate(MORE.items(), length + 1):
        new.append(f'{card}{number} : start={start}, size={size // SECTOR}, name="{name}"')
        start += size // SECTOR
    scratch(card, work / "short", [f"table-length: {length}", *head, *(old[one] for one in old if one <= length)])
    scratch(card, work / "whole", [*head, *old.values(), *new])
    place = ENTRIES_LBA + length // IN_A_SECTOR
    for first, last in ((ENTRIES_LBA, place), (place + 1, TABLE_SECTORS)):
        if read(work / "whole", first, last - first) != read(card, first, last - first):
            raise ValueError("sfdisk does not keep the partitions that there are")
    return [("w", lba * SECTOR, read(work / file, lba)) for file, lba in (("short", 1), ("whole", place), ("whole", 1))]


def sfdisk_writes(card: Path, work: Path) -> list[CardWrite]:
    """Return the writes of ``sfdisk --append`` on the card, in their order; the card itself stays as it is."""
    file, trace = work / "appended", work / "trace"
    images.sparse(file, card.stat().st_size)
    with open(file, "r+b") as image:
        image.write(read(card, 0, TABLE_SECTORS))
    lines = "".join(f"size={size // SECTOR},name={name}\n" for name, size in MORE.items())
    subprocess.run(
        [
            "strace",
            "-qq",
            "-xx",
            "-s",
            str(1 << 16),
            "-P",
            str(file),
            "-e",
            "trace=lseek,write",
            "-o",
            str(trace),
            *SFDISK,
            "--append",
            str(file),
        ],
        input=lines,
        text=True,
        check=True,
        capture_output=True,
    )
    writes: list[CardWrite] = []
    place = 0
    for line in trace.read_text().splitlines():
        moved = re.match(r"lseek\(.*\) += (\d+)$", line)
        written = re.match(r'write\(\d+, "([^"]*)", (\d+)\) += \2$', line)
        if moved:
            place = int(moved[1])
        elif written:
            data = bytes.fromhex(written[1].replace("\\x", ""))
            writes.append(("w", place, data))
            place += len(data)
    return writes


def entries_of(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the name, first and last sector of each entry in a table's bytes, as far as it is used."""
    for kind, _, first, last, _, name in ENTRY.iter_unpack(data[: len(data) // ENTRY_BYTES * ENTRY_BYTES]):
        if any(kind):
            yield name.decode("utf-16le").rstrip("\0"), first, last


def header_of(sector: bytes) -> list[Any] | None:
    """Return the fields of a header whose own sum is right, or None."""
    fields = list(HEADER.unpack_from(sector))
    wanted, fields[3] = fields[3], 0
    return fields if fields[0] == b"EFI PART" and binascii.crc32(HEADER.pack(*fields)) == wanted else None


def seen_by_linux(card: Path) -> set[str]:
    """Return the names of the partitions that Linux finds, as block/partitions/efi.c goes about it.

    Header and entries must have the right sums. The backup table is not looked at unless the command line says ``gpt``.
    """
    fields = header_of(read(card, 1))
    if fields is None:
        return set()
    place, count, size, wanted = fields[10:]
    data = read(card, place, -(-count * size // SECTOR))[: count * size]
    end = card.stat().st_size // SECTOR
    if binascii.crc32(data) != wanted or fields[5] != 1 or size != ENTRY_BYTES or max(fields[7], fields[8]) >= end:
        return set()
    return {name for name, _, _ in entries_of(data)}


def seen_by_bl2(card: Path) -> dict[str, int]:
    """Return {name: first sector} of what TF-A's drivers/partition reads, which loads ``fip`` from there.

    It wants the header's sum but not that of the entries, has the card's first 34 sectors, and stops at the first
    entry that is not used.
    """
    fields = header_of(read(card, 1))
    found: dict[str, int] = {}
    if fields is None or fields[10] < ENTRIES_LBA:
        return found
    data = read(card, 0, TABLE_SECTORS)[fields[10] * SECTOR :][: fields[11] * ENTRY_BYTES]
    for _, _, first, last, _, name in ENTRY.iter_unpack(data):
        if not first and not last:
            break
        found[name.decode("utf-16le").rstrip("\0")] = first
    return found
