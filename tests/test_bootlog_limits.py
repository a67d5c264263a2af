"""No serial log is slow, large in memory, or a traceback."""

import io
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bootlogs import BOARD, log_of, told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootplan import bootlog
from bootplan.bootlog import explain
from bootplan.logcases import load_cases, plain_text
from bootplan.logreport import as_text

budget = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


@budget
@given(st.data())
def test_any_bytes_have_an_answer(data: st.DataObject) -> None:
    pieces = st.one_of(
        st.binary(max_size=200),
        st.sampled_from(log_of("three-starts").encode().splitlines(keepends=True)),
        st.sampled_from([plain_text(one).encode() for one in load_cases().patterns]),
        st.sampled_from([b"\x1b[", b"\x1b[2J", b"\r", b"\n", b"\x00", b"\xff\xfe", b"\xe2\x80\xae", b"{plan}", b"%s"]),
    )

    explanation = told(b"".join(data.draw(st.lists(pieces, max_size=40))))

    text = as_text(explanation, "boot.log", BOARD)
    assert all(one.isprintable() or one == "\n" for one in text)
    assert max(map(len, text.splitlines())) < 700


def hostile() -> Iterator[tuple[str, bytes]]:
    """Lines that make patterns look twice: the beginning of each, over and over."""
    for pattern in load_cases().patterns:
        plain = plain_text(pattern)
        yield pattern, plain.encode() * (bootlog.LONGEST_PIECE // len(plain))
        yield pattern, (plain + " " * 40).encode() * (bootlog.LONGEST_PIECE // (len(plain) + 40))


def test_no_pattern_is_slow() -> None:
    for pattern, line in hostile():
        begin = time.process_time()
        told((line + b"\n") * 20)
        spent = time.process_time() - begin
        assert spent < 0.5, pattern


def processor_seconds() -> float:
    """What the programs that were run so far took of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


KINDS = (
    "one character",
    "blanks",
    "zeros",
    "empty lines",
    "tiny lines",
    "noise",
    "escapes",
    "carriage returns",
    "starts",
)


@pytest.mark.parametrize("kind", ["lines", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)])
def test_fifty_megabytes_take_seconds_and_no_memory(tmp_path: Path, kind: str) -> None:
    block = {
        "one character": b"a",
        "blanks": b" ",
        "zeros": b"\0",
        "empty lines": b"\n",
        "tiny lines": b"a\n",
        "lines": log_of("good-nand").encode(),
        "noise": random.Random(1).randbytes(1 << 16),
        "escapes": b"\x1b[2J\x1b[31m",
        "carriage returns": b"\rx",
        "starts": b"F0: 102B 0000\nSystem halt!\n",
    }[kind]
    size = 50 << 20 if kind in ("one character", "blanks", "zeros") else 5 << 20
    path = tmp_path / "large.log"
    path.write_bytes((block * (size // len(block) + 1))[:size])
    limit = 1 << 30

    begin = processor_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "bootplan", "explain-log", path],
        capture_output=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) < 4000
    assert processor_seconds() - begin < 60


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    import tracemalloc

    class Endless(io.BytesIO):
        """A start after the other, *left* of them."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.left = left

        def readline(self, size: int | None = -1) -> bytes:
            self.left -= 1
            return b"F0: 102B 0000 %d\n" % self.left if self.left > 0 else b""

    peaks = []
    for lines in (2_000, 20_000):
        tracemalloc.start()
        explain(Endless(lines), BOARD)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 2 * peaks[0] + (1 << 16)
