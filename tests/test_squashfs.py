"""The system in a squashfs: as mksquashfs makes it, and as nobody should."""

import gc
import io
import lzma
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import released
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import bounded

from bootplan.formats.squashfs import System, read_system
from bootplan.formats.window import Damaged, Window

FOLDER, FILE, LINK, LARGE_FOLDER = 1, 2, 3, 8
GZIP, LZMA = 1, 2
BLOCK = 1 << 17
NO_FRAGMENT, NO_TABLE = (1 << 32) - 1, (1 << 64) - 1


def read(data: bytes) -> System:
    """The system in these bytes, found within the limits."""
    with bounded():
        return read_system(Window(io.BytesIO(data), 0, len(data)))


# The format: fs/squashfs/squashfs_fs.h in Linux. Made by hand, a squashfs may say what mksquashfs never would.


def metadata(content: bytes, kind: int = GZIP) -> bytes:
    """A table's content as its blocks; equal blocks are compressed once."""
    done: dict[bytes, bytes] = {}
    for at in range(0, len(content), 8192):
        piece = content[at : at + 8192]
        done.setdefault(piece, zlib.compress(piece, 9) if kind == GZIP else lzma.compress(piece, lzma.FORMAT_ALONE))
    pieces = [done[content[at : at + 8192]] for at in range(0, len(content), 8192)]
    return b"".join(struct.pack("<H", len(piece)) + piece for piece in pieces)


def entries(*names: tuple[str, int, int], number: int | None = None) -> bytes:
    """A part of a folder: name, kind and place among the inodes of each entry."""
    body = b"".join(struct.pack("<HhHH", at, 0, kind, len(name) - 1) + name.encode() for name, kind, at in names)
    return struct.pack("<III", len(names) - 1 if number is None else number, 0, 1) + body


def inode(kind: int, *more: int, form: str) -> bytes:
    """An inode without rights, owner and time."""
    return struct.pack("<HHHHII" + form, kind, 0o755, 0, 0, 0, 1, *more)


def folder(size: int, at: int = 0) -> bytes:
    """The inode of a folder with *size* bytes of entries."""
    return inode(LARGE_FOLDER, 2, size + 3, 0, 0, 0, at, NO_FRAGMENT, form="IIIIHHI")


def file(size: int, *blocks: int, start: int = 96) -> bytes:
    """The inode of a file."""
    return inode(FILE, start, NO_FRAGMENT, 0, size, *blocks, form=f"IIII{len(blocks)}I")


def squashfs(inodes: bytes, folders: bytes, data: bytes = b"", kind: int = GZIP) -> bytes:
    """A squashfs whose first inode is the root."""
    inodes_at = 96 + len(data)
    folders_at = inodes_at + len(inodes)
    owners_at = folders_at + len(folders)
    owners = metadata(bytes(4), kind)
    tables = data + inodes + folders + owners + struct.pack("<Q", owners_at)
    table_at = owners_at + len(owners)
    numbers = [0x73717368, 10, 0, BLOCK, 0, kind, 17, 0, 1, 4, 0]
    places = [0, 96 + len(tables), table_at, NO_TABLE, inodes_at, folders_at, NO_TABLE, NO_TABLE]
    return struct.pack("<5I6H8Q", *numbers, *places) + tables


def with_file(content: bytes, *blocks: int, size: int, kind: int = GZIP) -> bytes:
    """A squashfs with the file /sbin/mount_root, which is also called /etc/openwrt_release."""
    names = [("etc", FOLDER, 0), ("mount_root", FILE, 40), ("openwrt_release", FILE, 40), ("sbin", FOLDER, 0)]
    listing = entries(*names)
    return squashfs(metadata(folder(len(listing)) + file(size, *blocks), kind), metadata(listing, kind), content, kind)


def test_a_squashfs_made_by_hand_is_one() -> None:
    text = zlib.compress(b"DISTRIB_RELEASE='25.12.5'\nfstools_overlay_name")

    system = read(with_file(text, len(text), size=46))

    assert (system.release, system.knows_overlay_name, system.packages) == ("25.12.5", True, None)


def test_large_folders_and_long_files(tmp_path: Path) -> None:
    names = [f"package-with-a-long-name-{number}" for number in range(3000)]
    text = "".join(f"C:Q1\nP:{name}\nT:{'words ' * 60}{hash(name)}\n\n" for name in names)
    assert 1 << 20 < len(text) < 2 << 20, "several blocks, and a piece that is in none"
    tree = {"lib/apk/db/installed": text, "etc/openwrt_release": "DISTRIB_RELEASE='25.12.5'\n"}
    files = {f"usr/lib/opkg/info/{name}.control": "" for name in names}

    ways = ((tree, "-comp xz -b 256k"), (files, "-comp xz"), (tree, "-comp gzip -b 4k"))
    for number, (made, options) in enumerate(ways):
        place = tmp_path / str(number)
        place.mkdir()
        assert read(released.squashfs(place, made, *options.split()).read_bytes()).packages == frozenset(names)


def test_a_file_with_holes(tmp_path: Path) -> None:
    text = "P:first\n" + "\0" * (600 << 10) + "\nP:last\n"

    data = released.squashfs(tmp_path, {"lib/apk/db/installed": text}, "-comp", "xz").read_bytes()

    assert read(data).packages == frozenset({"first", "last"})


def test_a_folder_in_itself_is_no_trap() -> None:
    names = ("etc", "info", "lib", "modules", "opkg", "rc.d", "sbin", "usr")
    listing = entries(*((name, FOLDER, 0) for name in names))

    system = read(squashfs(metadata(folder(len(listing))), metadata(listing)))

    assert system.kernels == names and not system.has_init


def test_folders_that_are_many_times_in_each_other_take_no_time() -> None:
    """2 to the power of 60 folders for whoever goes through all of them."""
    listings = [entries(("etc", FOLDER, 40 * level), ("lib", FOLDER, 40 * level)) for level in range(1, 60)]
    size = len(listings[0])
    inodes = b"".join(folder(size, size * level) for level in range(59)) + folder(0)

    assert read(squashfs(metadata(inodes), metadata(b"".join(listings)))).release == ""


@pytest.mark.parametrize("number", [None, 0xFFFFFFFF], ids=["parts", "entries"])
def test_a_folder_without_end_is_given_up(number: int | None) -> None:
    listing = entries(*[("f", FILE, 0)] * 255, number=number) if number is None else entries(number=number)
    piece = listing if number is None else b"\0\0\0\0\2\0\0\0f"
    content = listing + piece * ((80 << 20) // len(piece))
    data = squashfs(metadata(folder(0xFFFFFFF0)), metadata(content))
    assert len(data) < 2 << 20

    with pytest.raises(Damaged, match="more in it than an image of this board can have"):
        read(data)


@pytest.mark.parametrize("kind", [FOLDER, LINK])
def test_a_name_without_end_is_given_up(kind: int) -> None:
    listing = entries(("etc", LINK, 40)) if kind == LINK else struct.pack("<IIIHhHH", 99, 0, 1, 0, 0, FOLDER, 0xFFFF)
    inodes = folder(len(listing) if kind == LINK else 0xFFFFFFF0) + inode(LINK, 1, 0xFFFFFFFF, form="II")

    with pytest.raises(Damaged, match="a piece of its squashfs's tables is too long"):
        read(squashfs(metadata(inodes + b"x" * (80 << 20)), metadata(listing + b"x" * (80 << 20))))


def test_tables_that_unpack_to_far_more_are_given_up() -> None:
    bomb = zlib.compress(bytes(60000), 9)
    listing = struct.pack("<H", len(bomb)) + bomb

    with pytest.raises(Damaged, match="a block of its squashfs unpacks to more than a block"):
        read(squashfs(metadata(folder(100)), listing))


@pytest.mark.parametrize(
    ("content", "block", "size", "kind", "fault"),
    [
        (bytes(200_000), 1 << 24 | 200_000, BLOCK, GZIP, "a block of a file in its squashfs is larger than a block"),
        (zlib.compress(bytes(100 << 20)), 0, BLOCK, GZIP, "unpacks to more than a block"),
        (b"", 1 << 24 | BLOCK, BLOCK, GZIP, "its squashfs ends too early"),
        (b"\x5d\xff\xff\xff\xff" + b"\xff" * 8 + bytes(100), 0, 100, LZMA, "cannot be read"),
        (b"", 0xFFFFFF, BLOCK, GZIP, "larger than a block"),
        (b"", 0, 0xFFFFFFFF, GZIP, "etc/openwrt_release in its squashfs has 4294967295 bytes"),
    ],
    ids=["stored", "bomb", "short", "dictionary", "long", "size"],
)
def test_a_file_that_lies_is_refused(content: bytes, block: int, size: int, kind: int, fault: str) -> None:
    with pytest.raises(Damaged, match=fault):
        read(with_file(content, block or len(content), size=size, kind=kind))


def test_nothing_of_an_image_stays_in_memory(tmp_path: Path) -> None:
    text = "".join(f"P:{number:x}\n" for number in range(300_000))
    data = released.squashfs(tmp_path, {"lib/apk/db/installed": text}).read_bytes()
    read(data)  # so that the library has made what it makes once

    tracemalloc.start()
    read_system(Window(io.BytesIO(data), 0, len(data)))
    gc.collect()
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert len(text) > 2 << 20 and left < 100_000


def test_what_opkg_removed_is_not_there(tmp_path: Path) -> None:
    states = {"a": "install user installed", "b": "deinstall ok not-installed", "c": "install ok installed", "d": ""}
    text = "".join(
        f"Package: {name}\nVersion: 1\nProvides: also-{name}, more-{name}\nStatus: {state}\nArchitecture: all\n\n"
        for name, state in states.items()
    )
    text += "Package: last\nStatus: install hold not-installed\n"
    data = released.squashfs(tmp_path, {"usr/lib/opkg/status": text}).read_bytes()

    assert read(data).packages == frozenset({"a", "c", "d"})
    assert read(data).provided == frozenset({"also-a", "more-a", "also-c", "more-c", "also-d", "more-d"})


@pytest.mark.parametrize("line", ["Package: x\n", "Status: x\n", "\n", "Status: " + "x " * 1000, "x\n"])
def test_any_list_of_opkg_is_read_in_one_go(tmp_path: Path, line: str) -> None:
    data = released.squashfs(tmp_path, {"usr/lib/opkg/status": line * ((4 << 20) // len(line))}).read_bytes()

    assert read(data).packages in (None, {"x"})


def test_a_list_with_too_many_packages_ends(tmp_path: Path) -> None:
    text = "".join(f"P:{number:x}\n" for number in range(500_000))
    data = released.squashfs(tmp_path, {"lib/apk/db/installed": text}).read_bytes()

    packages = read(data).packages

    assert packages is not None and len(packages) == 10_000


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A squashfs whose tables are not compressed, so that each change in them gets through."""
    files = {**released.tree("25.12.5", released.PACKAGES), "sbin/a": "->b", "sbin/b": "->../sbin/a"}
    files |= {f"lib/modules/{released.KERNEL}/{number}.ko": "x" * number for number in range(200)}
    words = ("-comp", "gzip", "-noI", "-noD", "-noF", "-noX")
    return released.squashfs(tmp_path_factory.mktemp("plain"), files, *words).read_bytes()


CHANGE = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f" + b"\xff" * 7]))


@settings(derandomize=True, database=None, deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_table_of_a_squashfs_gets_an_answer(plain: bytes, data: st.DataObject) -> None:
    image = bytearray(plain)
    tables = min(struct.unpack_from("<4Q", plain, 64))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, 95), st.integers(tables, len(plain) - 8)))
        more = data.draw(CHANGE)
        image[at : at + len(more)] = more
    with suppress(Damaged):
        read(bytes(image))
