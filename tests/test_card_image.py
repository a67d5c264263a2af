"""The image of a card, read in its compressed stream."""

import gzip
import struct
import zlib
from pathlib import Path

import released
from hypothesis import given
from hypothesis import strategies as st
from inspecting import CHANGE, budget, look


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


def test_a_system_on_a_card_that_is_not_looked_into_is_told(files: dict[str, bytes]) -> None:
    image = gzip.compress(gzip.decompress(files["card"])[: 64 << 20] + bytes(129 << 20), 1)

    assert look(image).faults == ["what is in its partition production has more than 128 MiB: it is not looked into"]
