"""Sizes and durations: what is read, what is refused, how it is shown."""

import re

import pytest

from bootplan.units import parse_capacity, parse_duration, parse_size, show_duration, show_roughly, show_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1MiB", 2**20), ("8GiB", 2**33), ("8 GiB", 2**33), ("64TiB", 2**46), ("0008GiB", 2**33)],
)
def test_a_size_is_held_in_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("256GB", 256 * 10**9), ("1TB", 10**12), ("500kB", 500_000), ("1GiB", 2**30)]
)
def test_a_capacity_may_be_decimal(text: str, size_bytes: int) -> None:
    assert parse_capacity(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8G", "size '8G' has no unit we know; write MiB or GiB"),
        ("8GB", "size '8GB' has no unit we know; write MiB or GiB"),
        ("8gib", "size '8gib' has no unit we know; write MiB or GiB"),
        ("8", "size '8' has no unit; write MiB or GiB"),
        ("", "size '' is not a whole number and a unit; write it like 8GiB"),
        ("-8GiB", "size '-8GiB' is not a whole number and a unit; write it like 8GiB"),
        ("8  GiB", "size '8  GiB' is not a whole number and a unit; write it like 8GiB"),
        ("8GiB\n", "size '8GiB\n' is not a whole number and a unit; write it like 8GiB"),
        ("٨GiB", "size '٨GiB' is not a whole number and a unit; write it like 8GiB"),
        ("0GiB", "size '0GiB' is nothing at all; write at least 1MiB"),
        ("65TiB", "size '65TiB' is more than 64TiB; no disk for this board is that large"),
        ("9" * 16 + "MiB", f"size '{'9' * 16}MiB' is not a whole number and a unit; write it like 8GiB"),
    ],
)
def test_a_refused_size_names_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(2**33, "8GiB"), (2**20, "1MiB"), (256 * 10**9, "256GB"), (1000, "1kB"), (0, "0 bytes"), (1, "1 bytes")],
)
def test_a_size_is_shown_exactly(size_bytes: int, shown: str) -> None:
    assert show_size(size_bytes) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"), [(256 * 10**9, "238.4GiB"), (2**30, "1.0GiB"), (2**30 - 1, "1023MiB"), (0, "0MiB")]
)
def test_a_rough_size_is_rounded_down(size_bytes: int, shown: str) -> None:
    assert show_roughly(size_bytes) == shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10min", 600), ("10 min", 600), ("0010min", 600), ("0s", 0), ("1s", 1)]
)
def test_a_duration_is_held_in_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", "duration '10' has no unit; write min or s"),
        ("10m", "duration '10m' has no unit we know; write min or s"),
        ("10MIN", "duration '10MIN' has no unit we know; write min or s"),
        ("1.5min", "duration '1.5min' is not a whole number and a unit; write it like 10min or 90s"),
        ("-1s", "duration '-1s' is not a whole number and a unit; write it like 10min or 90s"),
        ("10min\n", "duration '10min\n' is not a whole number and a unit; write it like 10min or 90s"),
        ("", "duration '' is not a whole number and a unit; write it like 10min or 90s"),
    ],
)
def test_a_refused_duration_names_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "shown"), [(600, "10min"), (90, "90s"), (3600, "60min"), (0, "0s")])
def test_a_duration_is_shown_in_minutes_when_they_are_whole(seconds: int, shown: str) -> None:
    assert show_duration(seconds) == shown
