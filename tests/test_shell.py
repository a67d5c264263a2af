"""Values reach a script as one word, whatever they are."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootplan.shell import Verbatim, comment, name_of, printed, quote, words

SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
HOSTILE = [
    "",
    "a b",
    "'",
    "''",
    '"',
    "$(reboot)",
    "`reboot`",
    "$HOME",
    "\\",
    "\\n",
    "*",
    "~",
    "-n",
    "%s",
    "#x",
    "!",
    "a'b'c",
    ";:",
    "&",
    "ü€",
    "{{ x }}",
]
PRINTABLE = st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"]).filter(str.isprintable))


def through_a_shell(shell: str, values: list[str]) -> list[str]:
    """What a shell makes of the quoted values."""
    script = "".join(f"printf '%s\\0' {quote(value)}\n" for value in values)
    return subprocess.run([shell, "-c", script], capture_output=True, check=True).stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
def test_hostile_text_comes_through_unchanged(shell: str) -> None:
    assert through_a_shell(shell, HOSTILE) == HOSTILE


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(values=st.lists(PRINTABLE, max_size=30))
def test_any_printable_text_comes_through_unchanged(shell: str, values: list[str]) -> None:
    assert through_a_shell(shell, values) == values


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_text_is_printed_to_the_byte(shell: str, text: str) -> None:
    commands = printed(text)

    assert all(line.isprintable() for line in commands.split("\n"))
    assert subprocess.run([shell, "-c", commands], capture_output=True, check=True).stdout == text.encode()


@pytest.mark.parametrize("value", ["a\nb", "\t", "\x00", "\x1b[0m", "\r", "\u202e"])
def test_what_cannot_be_printed_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cannot be printed"):
        quote(value)


@pytest.mark.parametrize("value", [None, 1.5, True, ["a"], b"a"])
def test_what_is_no_word_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be a shell word"):
        quote(value)


def test_numbers_and_checked_text_stay_bare() -> None:
    assert (quote(7), quote(Verbatim("a b"))) == ("7", "a b")


def test_a_call_has_a_bare_name_and_quoted_arguments() -> None:
    assert words(("make_ext4", "it's", 2)) == "make_ext4 'it'\\''s' 2"


@pytest.mark.parametrize("name", ["", "2x", "a b", "a;b", "A", 3])
def test_a_name_is_a_name(name: object) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        name_of(name)


def test_a_comment_stays_on_its_line() -> None:
    assert comment("a\nreboot\x1b") == "a?reboot?"
