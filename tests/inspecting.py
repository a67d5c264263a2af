"""What the tests of `bootplan inspect` share."""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import released
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from limits import bounded

from bootplan.board import load_board
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
