"""What the metadata behind an image say, and how they lie."""

import json
import zlib

import pytest
from board import firmware
from hypothesis import given
from hypothesis import strategies as st
from inspecting import BOARD, PLAN, budget, fit_with, look

from bootplan.inspectreport import as_text
from bootplan.verdict import judge


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
