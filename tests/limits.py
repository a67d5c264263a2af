"""Limits that hold whatever is in a file."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_SECONDS, MOST_BYTES = 4, 64 << 20


@contextmanager
def bounded() -> Iterator[None]:
    """What is done inside takes limited processor time and memory, also when it ends with an exception."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        yield
    finally:
        seconds, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < LONGEST_SECONDS and peak < MOST_BYTES, f"{seconds:.1f} s, {peak >> 20} MiB"
