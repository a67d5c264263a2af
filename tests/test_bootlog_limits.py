"""No serial log is slow, large in memory, or a traceback."""

import io
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
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


BANNERS = {
    "a start a line": b"U-Boot 2025.10-OpenWrt-r32463-0000000000 (Jun 27 2026 - 20:12:36 +0000)\n",
    "a start and its end": b"F0: 102B 0000\nSystem halt!\n",
    "whole starts": log_of("good-nand").encode(),
    "one character": b"a\n",
}


def quickest(work: Callable[[], object]) -> float:
    """The processor's seconds for *work*, of five times the least: others on the machine only ever add some."""
    taken = []
    for _ in range(5):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


@pytest.mark.parametrize("kind", BANNERS)
def test_a_line_costs_no_more_than_some_steps(kind: str) -> None:
    """In steps of the same processor at the same time: one is to take a line out of the log and to look at it."""
    log = BANNERS[kind] * (1 + (1 << 20) // len(BANNERS[kind]))

    def step() -> None:
        for line in log.split(b"\n"):
            line.decode("utf-8", "replace").strip().isprintable()

    assert quickest(lambda: told(log)) < 60 * quickest(step)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    class Untouched(io.FileIO):
        def readinto(self, buffer: object) -> int:
            raise AssertionError("it was read")

        read = readall = readline = readinto  # type: ignore[assignment]

    path = tmp_path / "large.log"
    path.write_bytes(b"")
    os.truncate(path, bootlog.LARGEST_LOG + 1)

    with Untouched(path) as stream, pytest.raises(bootlog.Unreadable, match="more than 64 MiB"):
        explain(stream, BOARD)


@pytest.mark.parametrize(("size", "read"), [(0, True), (1, False)])
def test_a_pipe_is_refused_behind_the_limit(monkeypatch: pytest.MonkeyPatch, size: int, read: bool) -> None:
    monkeypatch.setattr(bootlog, "LARGEST_LOG", 1 << 17)
    log = b"\n" * (bootlog.LARGEST_LOG + size)

    with nullcontext() if read else pytest.raises(bootlog.Unreadable):
        assert told(log).lines == len(log)


@pytest.mark.parametrize("length", [1, 7, 100, 1000])
def test_where_a_chunk_ends_changes_nothing(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """A chunk ends with a line: only one that is longer than it is taken apart."""
    for name in ("three-starts", "good-nand"):
        log = log_of(name) + "\n\n"
        longest = max(map(len, log.encode().splitlines())) + 1
        whole = told(log)
        monkeypatch.setattr(bootlog, "_CHUNK", longest + length)

        parts = told(log)

        assert (parts.lines, parts.starts) == (whole.lines, whole.starts)
        assert [(one.case.name, one.proof.line, one.proof.text) for one in parts.last.findings] == [
            (one.case.name, one.proof.line, one.proof.text) for one in whole.last.findings
        ]
        assert (parts.last.first_line, parts.last.last.line) == (whole.last.first_line, whole.last.last.line)
        monkeypatch.undo()


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    import tracemalloc

    class Endless(io.BytesIO):
        """A start after the other, a thousand at a time, *left* times."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.left = left

        def read(self, size: int | None = -1) -> bytes:
            self.left -= 1
            return b"".join(b"F0: 102B 0000 %d\n" % (self.left * 1000 + one) for one in range(1000 * (self.left > 0)))

    peaks = []
    for reads in (5, 50):
        tracemalloc.start()
        explain(Endless(reads), BOARD)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 2 * peaks[0] + (1 << 16)
