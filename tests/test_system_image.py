"""The system in an image: its file system, and what is damaged in it."""

import struct
from pathlib import Path

import pytest
import released
from hypothesis import given
from hypothesis import strategies as st
from inspecting import BOARD, budget, look, resummed

from bootplan.verdict import judge


@pytest.mark.parametrize("how", ["xz", "gzip", "lzma"])
@pytest.mark.parametrize("release", ["24.10.7", "25.12.5"])
def test_squashfs_of_every_kind(tmp_path: Path, how: str, release: str) -> None:
    options = ("-comp", how, "-b", "256k")
    data = released.system(tmp_path / "new", release=release, options=options)

    content = look(data)

    assert (
        content.faults == [] and content.system is not None and content.system.packages == frozenset(released.PACKAGES)
    )
    assert content.release == release


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    files = {
        **released.tree("25.12.5", released.PACKAGES),
        "sbin/init": "->/bin/../bin/procd",
        "bin/procd": "x",
        "sbin/block": "->loop",
        "sbin/loop": "->block",
    }

    system = look(released.system(tmp_path / "new", files=files)).system

    assert system is not None and system.has_init and not system.has_block


@pytest.mark.parametrize(
    ("defect", "fault"),
    [
        ("truncated", "it is cut off"),
        ("hash", "its part 'kernel-1' is damaged: wrong crc32, sha256"),
        ("rootfs", "its part 'rootfs-1' is damaged: wrong crc32, sha256"),
        ("two", "it has 2 file systems"),
        ("header", "it begins as no file of OpenWrt"),
    ],
)
def test_a_damaged_system_is_found(tmp_path: Path, defect: str, fault: str) -> None:
    assert any(fault in one for one in look(released.system(tmp_path / "new", defect=defect)).faults)


def test_a_system_without_metadata_is_none_for_sysupgrade(tmp_path: Path) -> None:
    content = look(released.system(tmp_path / "new", defect="metadata"))

    assert judge(content, released.NAMES["system"], None, BOARD).against == [
        "it has no metadata: sysupgrade refuses it"
    ]


def test_a_system_that_cannot_start_is_found(tmp_path: Path) -> None:
    files = released.tree("25.12.5", released.PACKAGES)
    del files["sbin/init"]

    assert look(released.system(tmp_path / "new", files=files)).faults == [
        "its system has no /sbin/init: it does not start"
    ]


@pytest.mark.parametrize(
    ("at", "more", "fault"),
    [
        (4, b"\xff\xff\xff\xff", "claims 4294967295 files"),
        (12, b"\xff\xff\xff\x7f", "its squashfs has blocks of"),
        (16, b"\xff\xff\xff\xff", "4294967295 fragments"),
        (20, b"\x06\x00", "its squashfs is compressed in way 6"),
        (28, b"\x03\x00", "its file system is no squashfs 4"),
        (32, b"\xff" * 8, "its squashfs "),
        (40, b"\xff" * 7 + b"\x7f", "its squashfs has 9223372036854775807 bytes"),
        (64, b"\xff" * 8, "its squashfs"),
    ],
)
def test_a_hostile_squashfs_is_refused(files: dict[str, bytes], at: int, more: bytes, fault: str) -> None:
    faults = look(resummed(files["system"], at, more)).faults

    assert any(fault in one for one in faults)


@budget
@given(
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3),
    from_end=st.booleans(),
)
def test_any_squashfs_gets_an_answer(files: dict[str, bytes], changes: list[tuple[int, bytes]], from_end: bool) -> None:
    system = files["system"]
    size = struct.unpack_from("<Q", system, superblock_at(system) + 40)[0]
    for at, more in changes:
        system = resummed(system, min(size - 8, max(0, size - 8 - at if from_end else at)), more)
    look(system)


def superblock_at(data: bytes) -> int:
    """Where the squashfs of an image begins."""
    return data.index(b"hsqs")


def test_a_tower_of_compressed_zeros_is_stopped(tmp_path: Path) -> None:
    """A list of packages as large as it can be, in a few bytes."""
    files = {**released.tree("25.12.5", ()), "lib/apk/db/installed": "\n" * (40 << 20)}
    data = released.system(tmp_path / "new", files=files)
    assert len(data) < 2 << 20

    assert look(data).faults == ["/lib/apk/db/installed in its squashfs has 41943040 bytes"]
