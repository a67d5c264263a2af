"""What an OpenWrt file is, whether it is whole, and whether a plan can use it."""

import gzip
import hashlib
import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import released
from board import cards, firmware, loaders
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import bounded

from bootplan.board import load_board
from bootplan.cli import main
from bootplan.compiler import check
from bootplan.inspection import Content, inspect
from bootplan.inspectreport import as_json, as_text
from bootplan.verdict import Verdict, judge

Capture = pytest.CaptureFixture[str]
PlanWith = Callable[[str], str]
BOARD = load_board()
PLAN = check((Path(__file__).parent.parent / "plans/nand-slots.yaml").read_text(encoding="utf-8"), "plan.yaml").plan
SLOTS = (
    "media: {ssd: {type: nvme, serial: A1, partitions: ["
    "{name: root-a, size: 8GiB, filesystem: ext4}, {name: root-b, size: 8GiB, filesystem: ext4}]}}\n"
    "root: {method: extroot-overlay}\nslots: {a: {root: root-a}, b: {root: root-b}}\n"
)
CHANGE = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f" + b"\xff" * 7]))
budget = settings(
    derandomize=True, database=None, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One whole file of each kind."""
    return released.contents(tmp_path_factory.mktemp("released"))


def look(data: bytes) -> Content:
    """What is in these bytes, found within the limits, and told in both ways."""
    with bounded():
        content = inspect(io.BytesIO(data), BOARD)
    for plan in (None, PLAN):
        verdict = judge(content, "x", plan, BOARD)
        assert as_text(content, verdict, "x", "plan.yaml")
        json.dumps(as_json(content, verdict, "x", "plan.yaml"))
    return content


def fits(data: bytes, kind: str, text: str, name: str = "") -> Verdict:
    """Whether a file fits the plan with this text."""
    plan = check(text, "plan.yaml").plan
    assert plan is not None
    return judge(look(data), name or released.NAMES[kind], plan, BOARD)


def test_each_kind_is_known_and_whole(files: dict[str, bytes]) -> None:
    for kind, data in files.items():
        content = look(data)
        assert (content.kind, content.faults, content.size) == (kind, [], len(data))
        assert judge(content, released.NAMES[kind], None, BOARD).good


def test_a_system_tells_what_it_is_for(files: dict[str, bytes]) -> None:
    content = look(files["system"])

    assert content.release == "25.12.5" and content.metadata is not None and content.system is not None
    assert content.metadata.devices == ("bananapi,bpi-r4",) and content.metadata.compat == "1.1"
    assert content.system.packages == set(released.PACKAGES) and content.system.kernels == (released.KERNEL,)
    assert content.system.has_init and content.system.has_nvme_module and content.system.knows_overlay_name
    assert content.fit is not None and all(image.whole for image in content.fit.images)
    assert look(files["card"]).system == content.system


@pytest.mark.parametrize("kind", ["system", "recovery"])
def test_a_fit_is_what_its_maker_says(files: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    """The same parts, sizes, sums and configurations that U-Boot's own tool lists."""
    path = tmp_path / "image.itb"
    path.write_bytes(files[kind])
    done = subprocess.run(["dumpimage", "-l", path], capture_output=True, text=True, check=True)
    told = [line.strip() for line in done.stdout.splitlines()]

    fit = look(files[kind]).fit

    assert fit is not None and f"FIT description: {fit.description}" in told
    for number, image in enumerate(fit.images):
        begin = told.index(f"Image {number} ({image.name})")
        end = next(at for at in range(begin + 1, len(told)) if told[at].startswith(("Image", "Default")))
        data = files[kind][image.offset : image.offset + image.size]
        assert f"Data Size:    {image.size} Bytes" in " ".join(told[begin:end])
        assert [line.split()[-1] for line in told[begin:end] if line.startswith("Hash algo:")] == list(image.sums)
        assert image.whole and f"Hash value:   {zlib.crc32(data):08x}" in told[begin:end]
    assert f"Default Configuration: '{fit.default}'" in told
    names = [line.partition("(")[2][:-1] for line in told if line.startswith("Configuration ")]
    assert names == list(fit.configurations)


@pytest.mark.parametrize("how", ["xz", "gzip", "lzma"])
@pytest.mark.parametrize("release", ["24.10.7", "25.12.5"])
def test_squashfs_of_every_kind(tmp_path: Path, how: str, release: str) -> None:
    options = ("-comp", how, "-b", "256k")
    data = released.system(tmp_path / "new", release=release, options=options)

    content = look(data)

    assert content.faults == [] and content.system is not None and content.system.packages == set(released.PACKAGES)
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


def test_metadata_that_lie_are_found(files: dict[str, bytes]) -> None:
    system = files["system"]
    bare = system[: system.rindex(b"\xde\xad\xc0\xde") + 4]

    def fault(data: bytes) -> str:
        return "; ".join(look(data).faults)

    assert "the sum in its metadata is wrong" in fault(system[:5000] + bytes([system[5000] ^ 1]) + system[5001:])
    assert "larger than the file" in fault(bare + firmware.TRAILER.pack(firmware.FWTOOL_MAGIC, 0, 1, 0xFFFFFFFF))
    assert "not JSON" in fault(firmware.append(bare, firmware.METADATA, b"{"))
    assert "not JSON" in fault(firmware.append(bare, firmware.METADATA, b"[" * 30000))
    assert "not JSON" in fault(firmware.append(bare, firmware.METADATA, b'{"a": ' + b"9" * 9000 + b"}"))
    assert "no JSON object" in fault(firmware.append(bare, firmware.METADATA, b"[1]"))
    assert "no sane size" in fault(firmware.append(bare, firmware.METADATA, b" " * 70000))
    odd = {"supported_devices": [1, None, {}], "version": [], "compat_version": 1.1}
    assert fault(firmware.append(bare, firmware.METADATA, json.dumps(odd).encode())) == ""


def with_metadata(files: dict[str, bytes], **told: object) -> bytes:
    """A recovery system with these metadata, and others that are older."""
    old = {"supported_devices": ["old"], "new_supported_devices": ["old"]}
    data = firmware.append(files["recovery"], firmware.METADATA, json.dumps(old).encode())
    return firmware.append(data, firmware.METADATA, json.dumps(told).encode())


@pytest.mark.parametrize(
    ("told", "compat", "devices"),
    [
        ({"supported_devices": ["a"]}, "1.0", ("a",)),
        ({"supported_devices": ["a"], "compat_version": ""}, "1.0", ("a",)),
        ({"supported_devices": ["a"], "new_supported_devices": ["b"], "compat_version": "1.0"}, "1.0", ("a",)),
        ({"supported_devices": ["a"], "new_supported_devices": ["b"], "compat_version": "1.1"}, "1.1", ("b",)),
        ({"supported_devices": ["a"], "compat_version": "1.1"}, "1.1", ()),
        ({}, "1.0", ()),
    ],
)
def test_metadata_are_read_as_sysupgrade_reads_them(
    files: dict[str, bytes], told: dict[str, object], compat: str, devices: tuple[str, ...]
) -> None:
    """The chunk that is nearest to the end, and the list that goes with its compat_version."""
    metadata = look(firmware.append(with_metadata(files, **told), firmware.SIGNATURE, b"signature")).metadata

    assert metadata is not None and (metadata.compat, metadata.devices) == (compat, devices)


def test_metadata_of_another_version_are_passed_over_as_by_fwtool(files: dict[str, bytes]) -> None:
    data = with_metadata(files, supported_devices=["a"])
    chunk = b"\0\0\0\1" + bytes(4) + b"?"
    data += chunk
    data += firmware.TRAILER.pack(firmware.FWTOOL_MAGIC, zlib.crc32(data) ^ 0xFFFFFFFF, 1, len(chunk) + 16)

    content = look(data)

    assert content.faults == [] and content.metadata is not None and content.metadata.devices == ("a",)


@pytest.mark.parametrize("kind", [firmware.METADATA, firmware.SIGNATURE])
def test_a_chunk_that_fwtool_cannot_hold_is_a_fault(files: dict[str, bytes], kind: int) -> None:
    content = b" " * ((32 << 10) - 8 * (kind == firmware.METADATA))

    assert "no sane size" not in "; ".join(look(firmware.append(files["recovery"], kind, content)).faults)
    assert look(firmware.append(files["recovery"], kind, content + b" ")).faults == ["its metadata are of no sane size"]


VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=8,
)
KEYS = ("supported_devices", "new_supported_devices", "compat_version", "compat_message", "version")


@budget
@given(told=st.one_of(VALUE, st.dictionaries(st.sampled_from(KEYS), VALUE)))
def test_any_metadata_get_an_answer(told: object) -> None:
    data = firmware.append(fit_with(b""), firmware.METADATA, json.dumps(told).encode())

    assert any("no JSON object" in fault for fault in look(data).faults) == (not isinstance(told, dict))


def test_what_a_file_says_does_not_move_the_cursor(files: dict[str, bytes]) -> None:
    said = {"new_supported_devices": ["\x1b[2J\nok"], "compat_version": "\u202e1", "version": {"version": "\x07"}}
    content = look(firmware.append(files["recovery"], firmware.METADATA, json.dumps(said).encode()))

    told = as_text(content, judge(content, "x", PLAN, BOARD), "x", "plan.yaml")

    assert content.metadata is not None and content.metadata.devices == ("\x1b[2J\nok",)
    assert all(character.isprintable() for character in told.replace("\n", "")) and "\nok" not in told


def test_a_card_is_read_to_its_end(files: dict[str, bytes], tmp_path: Path) -> None:
    card = files["card"]
    plain = gzip.decompress(card)

    def fault(data: bytes) -> str:
        return "; ".join(look(data).faults)

    assert fault(card[:-100]) == "its compressed stream is cut off"
    assert fault(card + b"more") == "something stands behind its compressed stream"
    assert fault(card[:3000] + bytes(200) + card[3200:]) == "its compressed stream is damaged"
    assert fault(gzip.compress(plain[:9000])) == "it is too short to have a partition table"
    assert fault(gzip.compress(plain[:512] + bytes(20000))) == "it has no GPT"
    assert fault(gzip.compress(plain[:1100] + b"x" + plain[1101:20000])) == "a sum in its GPT is wrong"
    assert fault(gzip.compress(plain[: 60 << 20], 1)) == "there is no system in its partition production"
    assert "the system in production: " in fault(released.card(released.system(tmp_path / "bad", defect="rootfs")))


def test_a_stream_that_unpacks_to_far_more_is_stopped(files: dict[str, bytes]) -> None:
    table = gzip.decompress(files["card"])[:20000]
    bomb = gzip.compress(table + bytes(700 << 20), 1)

    assert look(bomb).faults == ["it unpacks to more than its partitions have room for"]


def with_sums(table: bytes) -> bytes:
    """A card's first sectors with the sums of its table made right."""
    entries = zlib.crc32(table[1024 : 1024 + 128 * 128])
    table = table[:600] + struct.pack("<I", entries) + table[604:]
    header = zlib.crc32(table[512:528] + bytes(4) + table[532:604])
    return table[:528] + struct.pack("<I", header) + table[532:]


def test_a_table_that_promises_room_for_everything_is_not_believed(files: dict[str, bytes]) -> None:
    table = bytearray(gzip.decompress(files["card"])[:20000])
    table[1024 + 40 : 1024 + 48] = struct.pack("<Q", 1 << 60)  # where the first partition ends

    faults = look(gzip.compress(with_sums(bytes(table)) + bytes(700 << 20), 1)).faults

    assert faults == ["it unpacks to more than its partitions have room for"]


@budget
@given(data=st.data())
def test_any_table_of_a_card_gets_an_answer(files: dict[str, bytes], data: st.DataObject) -> None:
    table = bytearray(zlib.decompressobj(wbits=31).decompress(files["card"], 20000))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(512, 603), st.integers(1024, 1024 + 8 * 128)))
        more = data.draw(CHANGE)
        table[at : at + len(more)] = more
    assert look(gzip.compress(with_sums(bytes(table)), 1)).faults


@pytest.mark.parametrize(("medium", "kind"), [("nand", "bl2"), ("emmc", "bl2"), ("sd", None)])
def test_a_bl2_says_its_medium(medium: str, kind: str | None) -> None:
    content = look(loaders.bl2(medium))

    assert (content.kind, content.medium) == (kind, medium)


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_a_bl2_that_is_not_whole_is_found(medium: str) -> None:
    bl2 = loaders.bl2(medium)
    info = bl2.index(b"MMM")
    assert bl2[info + 8 :].startswith(b"FILE_INFO") and look(bl2).faults == look(bl2 + b"more").faults == []

    def fault(data: bytes) -> str:
        (only,) = look(data).faults
        return only

    assert "it is cut off" in fault(bl2[:-1])
    assert fault(bl2[:-1] + bytes([bl2[-1] ^ 1])) == "its SHA-256 is wrong: it is damaged"
    assert fault(bl2[:90_000] + bytes([bl2[90_000] ^ 1]) + bl2[90_001:]) == "its SHA-256 is wrong: it is damaged"
    assert fault(bl2[:10]) == fault(bl2[: info + 20]) == "it ends too early"
    assert "there is no BL2 behind" in fault(bl2[:info] + bytes(len(bl2) - info))
    assert "says of its sum" in fault(bl2[: info + 32] + bytes(4) + bl2[info + 36 :])
    assert "says of its sum" in fault(bl2[: info + 44] + b"\xff" * 4 + bl2[info + 48 :])
    assert look(bl2[: info + 27] + b"\2" + bl2[info + 28 :]).faults == [], "signed in a way that nothing here knows"


def test_a_bl2_for_no_spi_nand_is_found() -> None:
    bl2 = loaders.bl2("nand")

    assert look(bl2[:16] + bytes(4) + bl2[20:]).faults == ["its header is for SPI-NAND with pages of 0 bytes"]


def test_a_fip_that_is_not_whole_is_found(files: dict[str, bytes]) -> None:
    fip = files["fip"]

    assert "it is cut off" in look(fip[:-1]).faults[0]
    assert look(fip[:16] + bytes(40)).faults == ["it has no BL31", "it has no BL33 (U-Boot)"]
    assert look(fip[:4] + bytes(4) + fip[8:]).faults == ["it does not begin as a FIP"]
    assert "its table has no end" in look(fip[:16] + (b"x" * 16 + struct.pack("<QQQ", 16, 1, 0)) * 64).faults


def tree_of(tokens: bytes, names: bytes = b"description\0", total: int | None = None) -> bytes:
    """A device tree with these tokens."""
    size = 40 + len(tokens) + len(names)
    header = [
        0xD00DFEED,
        size if total is None else total,
        40,
        40 + len(tokens),
        40,
        17,
        16,
        0,
        len(names),
        len(tokens),
    ]
    return struct.pack(">10I", *header) + tokens + names


def fit_with(size: bytes) -> bytes:
    """A FIT with one part, whose size is told by these bytes."""
    names = b"data-position\0data-size\0"

    def value(data: bytes, name: int) -> bytes:
        return struct.pack(">3I", 3, len(data), name) + data.ljust(-(-len(data) // 4) * 4, b"\0")

    begin = b"\0\0\0\1\0\0\0\0" + b"\0\0\0\1images\0\0" + b"\0\0\0\1k\0\0\0"
    return tree_of(begin + value(b"\0", 0) + value(size, 14) + b"\0\0\0\2" * 3 + b"\0\0\0\x09", names)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (tree_of(b"\0\0\0\1a\0\0\0" * 10_000), "its tree is deeper than 8 levels"),
        (tree_of(b"\0\0\0\4" * 10_000), "its tree has more than 4096 items"),
        (tree_of(b"\0\0\0\2"), "its tree is damaged"),
        (tree_of(b"\0\0\0\1" + b"x" * 400), "a name in its tree is damaged"),
        (tree_of(b"\0\0\0\1\0\0\0\0\0\0\0\3\xff\xff\xff\xff\0\0\0\0"), "it ends too early"),
        (tree_of(b"\0\0\0\1\0\0\0\0\0\0\0\3\0\0\0\0\xff\xff\xff\xff"), "a name in its tree is damaged"),
        (tree_of(b"", total=0xFFFFFFFF), "its tree ends at 4294967295"),
        (fit_with(b"\xff" * 900), "a number in its tree is too long"),
        (fit_with(b"\xff" * 8), "ends at 18446744073709551615, the file at"),
        (fit_with(b""), "its part 'k' has no sum"),
        (tree_of(b"\0\0\0\1\0\0\0\0" + (b"\0\0\0\1a\0\0\0" + b"\0\0\0\2") * 2), "its tree has two 'a' in one place"),
        (tree_of(b"\0\0\0\1\0\0\0\0" + (b"\0\0\0\3" + bytes(8)) * 2), "its tree has two 'description' in one place"),
        (b"\xd0\x0d\xfe\xed", "it ends too early"),
        (b"\xd0\x0d\xfe\xed" + b"\xff" * 36, "it is cut off"),
        (b"", "it is empty"),
        (b"SPINAND", "it begins as no file of OpenWrt"),
    ],
)
def test_a_hostile_tree_is_refused(data: bytes, fault: str) -> None:
    assert fault in look(data).faults[0]


def test_each_of_two_sums_of_one_kind_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text
    both = 'hash-1 { algo = "crc32"; value = <1>; }; hash-2 { algo = "crc32"; };'

    def changed(path: Path, text: str, **options: str) -> int:
        return write(path, text.replace('hash-1 { algo = "crc32"; }; hash-2 { algo = "sha1"; };', both), **options)

    monkeypatch.setattr(Path, "write_text", changed)
    data = released.recovery(tmp_path / "made")
    kernel = zlib.crc32(gzip.compress(b"kernel" * 5000, mtime=0)).to_bytes(4, "big")
    assert data.count(kernel) == 4, "mkimage makes both right"
    wrong = data.replace(kernel, b"wro\0", 1)

    assert look(data).faults == [] and look(wrong).faults == ["its part 'kernel-1' is damaged: wrong crc32"]


def superblock_at(data: bytes) -> int:
    """Where the squashfs of an image begins."""
    return data.index(b"hsqs")


def resummed(data: bytes, at: int, more: bytes) -> bytes:
    """A system whose squashfs has other bytes at a place, as its maker would have made it: with right sums."""
    content = inspect(io.BytesIO(data), BOARD)
    assert content.fit is not None
    (root,) = content.fit.of_type("filesystem")
    place = root.offset + at
    changed = bytearray(data)
    old = data[root.offset : root.offset + root.size]
    changed[place : place + len(more)] = more
    new = bytes(changed[root.offset : root.offset + root.size])
    text = bytes(changed)
    text = text.replace(hashlib.sha256(old).digest(), hashlib.sha256(new).digest())
    return text.replace(struct.pack(">I", zlib.crc32(old)), struct.pack(">I", zlib.crc32(new)))


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
@given(kind=st.sampled_from(["system", "recovery", "bl2", "fip"]), data=st.data())
def test_any_file_gets_an_answer(files: dict[str, bytes], kind: str, data: st.DataObject) -> None:
    image = bytearray(files[kind])
    last = len(image) - 1
    for _ in range(data.draw(st.integers(1, 4))):
        near = st.one_of(st.integers(0, 200), st.integers(0, 2500), st.integers(last - 1500, last))
        at = data.draw(st.one_of(near.map(lambda place: min(max(0, place), last)), st.integers(0, last)))
        more = data.draw(CHANGE)
        image[at : at + len(more)] = more
    look(bytes(image[: data.draw(st.one_of(st.just(len(image)), st.integers(0, len(image))))]))


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


@budget
@given(
    head=st.sampled_from([b"", b"\xd0\x0d\xfe\xed", b"\x1f\x8b\x08", b"SPINAND!", b"\x01\0\x64\xaa"]),
    rest=st.binary(max_size=300),
)
def test_random_bytes_get_an_answer(head: bytes, rest: bytes) -> None:
    content = look(head + rest)

    assert content.kind in (None, "bl2", "fip") and content.faults


def test_a_file_of_gigabytes_takes_little_memory(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "huge.itb"
    path.write_bytes(files["system"])
    with path.open("r+b") as stream:
        stream.truncate(1 << 30)
        with bounded():
            content = inspect(stream, BOARD)

    assert content.kind == "system" and content.size == 1 << 30 and content.metadata is None


def test_a_tower_of_compressed_zeros_is_stopped(tmp_path: Path) -> None:
    """A list of packages as large as it can be, in a few bytes."""
    files = {**released.tree("25.12.5", ()), "lib/apk/db/installed": "\n" * (40 << 20)}
    data = released.system(tmp_path / "new", files=files)
    assert len(data) < 2 << 20

    assert look(data).faults == ["/lib/apk/db/installed in its squashfs has 41943040 bytes"]


def test_a_whole_file_fits_its_plan(files: dict[str, bytes], plan_with: PlanWith) -> None:
    text = plan_with(SLOTS + "board: {model: bpi-r4, ram: 4GiB}\n")

    for kind, data in files.items():
        assert fits(data, kind, text).against == [], kind


NVME = (f"lib/modules/{released.KERNEL}/nvme.ko",)


def without(*beginnings: str) -> dict[str, str]:
    """The files of a small system, but for those whose paths begin so."""
    files = released.tree("25.12.5", released.PACKAGES)
    return {path: text for path, text in files.items() if not path.startswith(beginnings)}


@pytest.mark.parametrize(
    ("made", "text", "reason"),
    [
        ({"devices": ["bananapi,bpi-r3"]}, SLOTS, "it is for bananapi,bpi-r3, the plan is for bpi-r4"),
        ({"model": "bpi-r4-poe"}, SLOTS, "it has no configuration 'config-mt7988a-bananapi-bpi-r4'"),
        ({"release": "24.10.7"}, SLOTS, "it is OpenWrt 24.10.7, the plan is for 25.12"),
        ({"release": "24.10.7"}, SLOTS, "its settings are of generation 1.0 (compat_version), those of 25.12 of 1.1"),
        ({}, SLOTS + 'firmware: {release: "24.10"}\n', "eth1, eth2 became sfp-lan"),
        ({"packages": ("sfdisk",)}, SLOTS, "it has no kmod-nvme: the stock kernel has NVMe as a module"),
        ({"packages": ("kmod-nvme",)}, SLOTS, "it has no block-mount"),
        ({"files": without(*NVME)}, SLOTS, "it has no kmod-nvme"),
        ({"files": without("sbin/block")}, SLOTS, "it has no block-mount"),
        ({"files": without("lib/apk", *NVME)}, SLOTS, "it has no kmod-nvme"),
        ({"files": without("lib/apk", "sbin/block")}, SLOTS, "it has no block-mount"),
        (
            {"files": released.tree("24.10.7", released.PACKAGES)},
            SLOTS,
            "its metadata say OpenWrt 25.12.5, the system in it is OpenWrt 24.10.7",
        ),
        (
            {},
            SLOTS.replace("b: {root: root-b}}", "b: {root: root-b}, room: {firmware: 1MiB}}"),
            "bytes, a slot has in the plan",
        ),
        (
            {},
            'firmware: {release: "25.12", kernel: nvme-builtin}\n',
            "its kernel has NVMe as a module, the plan needs it built in",
        ),
        (
            {},
            SLOTS + f'upgrade: {{image: {{file: {released.NAMES["system"]}, sha256: "{"0" * 64}"}}}}\n',
            "this is another file, or damaged",
        ),
    ],
)
def test_a_system_that_does_not_fit(
    tmp_path: Path, plan_with: PlanWith, made: dict[str, object], text: str, reason: str
) -> None:
    if "1MiB" in text:
        made = {"files": {**released.tree("25.12.5", released.PACKAGES), "noise": cards.noise().hex() * 8}}

    verdict = fits(released.system(tmp_path / "new", **made), "system", plan_with(text))  # type: ignore[arg-type]

    assert any(reason in one for one in verdict.against), verdict


def test_a_system_without_a_list_of_packages_is_known_by_its_files(tmp_path: Path, plan_with: PlanWith) -> None:
    verdict = fits(released.system(tmp_path / "new", files=without("lib/apk")), "system", plan_with(SLOTS))

    assert verdict.against == []
    assert "no list of installed packages was found in it: only what its files show is known" in verdict.notes


def test_metadata_for_another_target_are_in_the_way(files: dict[str, bytes], plan_with: PlanWith) -> None:
    told = {"supported_devices": ["bananapi,bpi-r4"], "version": {"target": "mediatek/mt7622"}}
    data = firmware.append(files["system"], firmware.METADATA, json.dumps(told).encode())

    against = fits(data, "system", plan_with(SLOTS)).against

    assert "its metadata are for mediatek/mt7622, not for mediatek/filogic" in against


@pytest.mark.parametrize(
    ("kind", "old", "new", "reason"),
    [
        ("recovery", 'kernel = "kernel-1"; fdt', 'fdt', "has no kernel"),
        ("recovery", 'fdt = "fdt-1"; ', "", "has no flat_dt"),
        ("system", ' loadables = "rootfs-1";', "", "has no filesystem"),
    ],
)
def test_a_configuration_that_starts_no_system(
    tmp_path: Path, plan_with: PlanWith, monkeypatch: pytest.MonkeyPatch, kind: str, old: str, new: str, reason: str
) -> None:
    """U-Boot starts what the board's configuration names, and not what lies beside it."""
    write, texts = Path.write_text, []

    def changed(path: Path, text: str, **options: str) -> int:
        texts.append(text.replace(old, new) if path.name == "image.its" else text)
        return write(path, texts[-1], **options)

    monkeypatch.setattr(Path, "write_text", changed)
    data = getattr(released, kind)(tmp_path / "made")

    against = fits(data, kind, plan_with(SLOTS)).against

    assert against == [f"its configuration 'config-mt7988a-bananapi-bpi-r4' {reason}"]


def test_packages_that_can_come_later_are_notes(tmp_path: Path, plan_with: PlanWith) -> None:
    verdict = fits(files_of(tmp_path), "system", plan_with(SLOTS + "packages: [tcpdump]\n"))

    assert verdict.against == []
    assert "it has no tcpdump: you asked for it" in verdict.notes


def test_a_root_on_the_boot_medium_needs_no_package_to_be_found(tmp_path: Path, plan_with: PlanWith) -> None:
    disk = "{type: nvme, serial: A1, partitions: [{name: data, size: rest, filesystem: ext4, mount: /srv}]}"
    text = plan_with(f"media: {{ssd: {disk}}}\nroot: {{method: internal}}\n")

    verdict = fits(released.system(tmp_path / "new", packages=("base-files",)), "system", text)

    assert verdict.against == []
    assert "it has no kmod-nvme: the stock kernel has NVMe as a module" in verdict.notes
    assert not any("bootplan pin" in note for note in verdict.notes), "a plan without slots names no image"


def test_partitions_for_data_need_the_service_that_mounts_them(tmp_path: Path, plan_with: PlanWith) -> None:
    disk = "{type: nvme, serial: A1, partitions: [{name: data, size: rest, filesystem: ext4, mount: /srv}]}"
    text = plan_with(f"media: {{ssd: {disk}}}\nroot: {{method: internal}}\n")
    files = released.tree("25.12.5", released.PACKAGES)
    notes = fits(released.system(tmp_path / "on", files=files), "system", text).notes
    del files["etc/rc.d/S11fstab"]

    verdict = fits(released.system(tmp_path / "off", files=files), "system", text)

    said = "its service fstab is switched off: the partitions for data are not mounted at boot"
    assert verdict.against == [] and said in verdict.notes and said not in notes


def files_of(folder: Path) -> bytes:
    """A whole system."""
    return released.system(folder / "new")


@pytest.mark.parametrize(
    ("kind", "medium", "name", "reason"),
    [
        ("bl2", "emmc", "", "it is a BL2 for SPI-NAND, the plan starts from emmc"),
        ("bl2", "sd", "", "the boot loader of an SD card is in the image of the card"),
        ("fip", "nand", "u-boot.fip", "nothing but the name tells the board"),
        ("fip", "emmc", "", "its name ends with bpi-r4-snand-bl31-uboot.fip"),
        ("fip", "nand", released.NAMES["fip"].replace("25.12.5", "24.10.7"), "its name says OpenWrt 24.10.7"),
        ("fip", "nand", released.NAMES["bl2"], "its name is that of a BL2, its content is a FIP"),
        ("bl2", "nand", released.NAMES["bl2"].replace("snand", "emmc"), "its name is not that of a BL2 for SPI-NAND"),
        ("bl2", "nand", "", "the plan does not say what the board has"),
    ],
)
def test_a_loader_that_does_not_fit(
    files: dict[str, bytes], plan_with: PlanWith, kind: str, medium: str, name: str, reason: str
) -> None:
    verdict = fits(files[kind], kind, plan_with(f"boot: {{medium: {medium}}}\n"), name)

    assert any(reason in one for one in verdict.against), verdict


def test_the_command(files: dict[str, bytes], tmp_path: Path, plan_with: PlanWith, capsys: Capture) -> None:
    paths = {kind: tmp_path / name for kind, name in released.NAMES.items()}
    for kind, path in paths.items():
        path.write_bytes(files[kind])
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_with(SLOTS), encoding="utf-8")
    pictured = [str(paths[kind]) for kind in ("system", "recovery", "card", "fip")]

    assert main(["inspect", *map(str, paths.values())]) == 0
    out = capsys.readouterr().out
    assert out.count("  it is whole\n") == 5 and "\n  metadata       OpenWrt 25.12.5 " in out
    assert main(["inspect", "--plan", str(plan), *pictured]) == 0
    assert capsys.readouterr().out.count(f"  fits {plan}\n") == 4
    assert main(["pin", str(plan), *pictured]) == 0
    capsys.readouterr()
    assert main(["inspect", "--plan", str(plan), "--json", *pictured]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in told] == ["system", "recovery", "card", "fip"]
    assert told[0]["release"] == "25.12.5" and "kmod-nvme" in told[0]["system"]["packages"]
    assert any("its SHA-256 is the plan's" in note for note in told[0]["notes"])
    assert main(["inspect", str(plan)]) == 1
    assert main(["inspect", str(tmp_path / "missing"), str(plan)]) == 2
    assert main(["inspect", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("kind", "more", "name", "reason"),
    [
        ("card", "ram: 8GiB", "sdcard.img.gz", "that for the plan with bpi-r4-sdcard_8g.img.gz"),
        ("card", "ram: 4GiB", "sdcard_8g.img.gz", "that for the plan with bpi-r4-sdcard.img.gz"),
        ("card", "ram: 8GiB", "sdcard_8g.img.gz", ""),
        ("system", "", "squashfs-sysupgrade.itb", ""),
    ],
)
def test_the_name_of_a_file_tells_for_which_memory_it_is(
    files: dict[str, bytes], plan_with: PlanWith, kind: str, more: str, name: str, reason: str
) -> None:
    text = plan_with(f"{SLOTS}board: {{model: bpi-r4, {more}}}\n")

    against = fits(files[kind], kind, text, released.PREFIX + name).against

    assert reason in "; ".join(against) and bool(against) == bool(reason)


@pytest.mark.parametrize("kind", ["system", "recovery", "card"])
def test_a_name_of_another_board_is_in_the_way(files: dict[str, bytes], plan_with: PlanWith, kind: str) -> None:
    name = released.NAMES[kind].replace("bpi-r4", "bpi-r4-poe")

    (only,) = fits(files[kind], kind, plan_with(SLOTS), name).against

    assert only.startswith("its name ends with bpi-r4-poe-") and "that for the plan with bpi-r4-" in only


@pytest.mark.parametrize("kind", ["system", "card"])
def test_a_system_without_the_overlay_of_the_medium(
    files: dict[str, bytes], plan_with: PlanWith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """U-Boot starts configurations by name, two at once, and neither when one is not there."""
    lost = {"system": "emmc", "card": "sd"}[kind]
    monkeypatch.setattr(firmware, "OVERLAYS", tuple(one for one in ("emmc", "sd") if one != lost))
    made = released.system(tmp_path / "made")
    data = made if kind == "system" else released.card(made)

    against = fits(data, kind, plan_with(SLOTS)).against

    overlay = f"mt7988a-bananapi-bpi-r4-{lost}"
    assert against == [f"it has no configuration '{overlay}', without which U-Boot starts no system from there"]


@pytest.mark.parametrize(("release", "fit"), [("24.10", False), ("25.12", True)])
def test_sysupgrade_wants_the_name_that_the_board_has_under_the_release(
    tmp_path: Path, plan_with: PlanWith, release: str, fit: bool
) -> None:
    devices = ["bananapi,bpi-r4-2g5"]
    data = released.system(tmp_path / "new", release=f"{release}.7", model="bpi-r4-poe", devices=devices)
    text = plan_with(f'{SLOTS}board: {{model: bpi-r4-poe}}\nfirmware: {{release: "{release}"}}\n')
    name = released.NAMES["system"].replace("bpi-r4", "bpi-r4-poe").replace("25.12.5", f"{release}.7")

    against = fits(data, "system", text, name).against

    assert against == ([] if fit else ["it is for bananapi,bpi-r4-2g5, the plan is for bpi-r4-poe"])


def test_a_system_on_a_card_that_is_not_looked_into_is_told(files: dict[str, bytes]) -> None:
    image = gzip.compress(gzip.decompress(files["card"])[: 64 << 20] + bytes(129 << 20), 1)

    assert look(image).faults == ["what is in its partition production has more than 128 MiB: it is not looked into"]


def test_a_name_of_another_release_is_told(files: dict[str, bytes], plan_with: PlanWith) -> None:
    said = "its name says OpenWrt 24.10.7, the plan is for 25.12"

    def verdict(kind: str) -> Verdict:
        return fits(files[kind], kind, plan_with(SLOTS), released.NAMES[kind].replace("25.12.5", "24.10.7"))

    assert verdict("system").against == [said]
    assert verdict("recovery").good and said in verdict("recovery").notes
    assert verdict("card").good and "its name says 24.10.7, its content 25.12.5" in verdict("card").notes


def test_a_plan_that_is_wrong_is_told(
    files: dict[str, bytes], tmp_path: Path, plan_with: PlanWith, capsys: Capture
) -> None:
    """A file may fit what the plan says, and the plan still is none that can be compiled."""
    plan, image = tmp_path / "plan.yaml", tmp_path / released.NAMES["system"]
    plan.write_text(plan_with(SLOTS + "boot: {medium: nand, switch: '11'}\n"), encoding="utf-8")
    image.write_bytes(files["system"])

    assert main(["inspect", "--plan", str(plan), "--json", str(image)]) == 1

    out, err = capsys.readouterr()
    assert json.loads(out)[0]["good"] and "error:" in err


def test_what_is_larger_than_any_file_of_a_release_is_not_read(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "huge.itb"
    with path.open("wb") as stream:
        stream.truncate((1 << 30) + 1)

    assert main(["inspect", str(path)]) == 2

    assert "more than 1 GiB" in capsys.readouterr().err


def test_the_program_stays_small_whatever_it_is_given(files: dict[str, bytes], tmp_path: Path) -> None:
    """The memory of a whole process, which also counts what the libraries in C take."""
    table = gzip.decompress(files["card"])[:20000]
    dictionary = b"\x5d\xff\xff\xff\xff" + b"\xff" * 8
    hostile = {
        "whole.itb": files["system"],
        "bomb.img.gz": gzip.compress(table + bytes(700 << 20), 1),
        "deep.itb": tree_of(b"\0\0\0\1a\0\0\0" * 4_000_000),
        "dictionary.itb": resummed(files["system"], 96, dictionary),
        "many.itb": b"".join([files["system"][:4096], bytes(1 << 20)]),
        "json.itb": firmware.append(files["recovery"], firmware.METADATA, b"[" * 30000),
    }
    for name, data in hostile.items():
        (tmp_path / name).write_bytes(data)

    script = (
        "import sys, time; from bootplan.cli import main; code = main(sys.argv[1:]); sys.stdout.flush()\n"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(code, peak, time.process_time(), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, "inspect", "--json", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=True,
    )

    code, peak_kib, seconds = done.stderr.split()
    assert [one["faults"] == [] for one in json.loads(done.stdout)] == [name == "whole.itb" for name in sorted(hostile)]
    assert code == "1" and int(peak_kib) < 128 << 10 and float(seconds) < 10, done.stderr


def test_other_commands_do_not_wait_for_it() -> None:
    script = (
        "import sys; from bootplan.cli import main; main(['check', sys.argv[1]]); "
        "sys.exit('PySquashfsImage' in sys.modules)"
    )
    plan = Path(__file__).parent.parent / "plans/nand-nvme.yaml"
    done = subprocess.run([sys.executable, "-c", script, plan], capture_output=True, check=False, timeout=60)

    assert done.returncode == 0
