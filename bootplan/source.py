"""The bytes of a file as text: UTF-8, of a sane size, and nothing in it that cannot be seen."""

from collections.abc import Iterator
from itertools import islice
from unicodedata import category

from bootplan.diagnostics import Diagnostic, Severity, Span

LARGEST_BYTES = 2**18
START = Span(1, 1, 1, 1)

_MOST_SHOWN = 20
_JOINER, _PICTURE = "\u200d", "\ufe0f"  # U+FE0F: show the character before it as a picture


def decode(source: str | bytes) -> tuple[str, tuple[Diagnostic, ...]]:
    """The text in *source* without its byte order mark, and why it cannot be used, if so.

    Bytes that are not UTF-8 appear as U+FFFD; of a text that is too large nothing appears.
    """
    if len(source) > LARGEST_BYTES:
        return "", (_error("BP009", f"more than {LARGEST_BYTES // 1024} KiB of text", START, None),)
    if isinstance(source, str):
        text = source.removeprefix("\ufeff")
    else:
        try:
            text = source.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            return source.decode("utf-8", "replace").removeprefix("\ufeff"), (_not_utf8(source, error.start),)
    return text, tuple(islice(_unseen(text), _MOST_SHOWN))


def _not_utf8(source: bytes, position: int) -> Diagnostic:
    before = source[:position].decode("utf-8").removeprefix("\ufeff")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    message = f"byte 0x{source[position]:02x} is not UTF-8 text"
    return _error("BP007", message, Span(line, column, line, column + 1), "save the file as UTF-8")


def _unseen(text: str) -> Iterator[Diagnostic]:
    """What a reader of *text* cannot see: control characters, lone carriage returns, and what hides or reorders others.

    Python calls all of them unprintable.
    """
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.replace("\t", "").isprintable():
            continue
        for column, character in enumerate(line, start=1):
            if character == "\r":
                message, hint = "a lone carriage return stands here", "save the file with LF or CRLF line ends"
            elif character == _JOINER and _joins_pictures(line[column - 2 : column - 1] + line[column : column + 1]):
                continue
            elif character != "\t" and not character.isprintable():
                message, hint = f"U+{ord(character):04X} cannot be seen in a text", "remove it"
            else:
                continue
            yield _error("BP007", message, Span(number, column, number, column + 1), hint)


def _joins_pictures(around: str) -> bool:
    """Whether the two characters *around* a joiner are pictures, or make one: one emoji may have several parts."""
    return len(around) == 2 and all(one == _PICTURE or category(one) in ("So", "Sk") for one in around)


def _error(code: str, message: str, span: Span, hint: str | None) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, message, hint, (), span)
