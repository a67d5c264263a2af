"""The bytes of a file as text: UTF-8, of a sane size, and nothing in it that cannot be seen."""

import re
from itertools import islice

from bootplan.diagnostics import Diagnostic, Related, Severity, Span

LARGEST_BYTES = 2**18
START = Span(1, 1, 1, 1)

# Besides control characters: line ends that editors count differently, and marks that reorder or hide text.
_UNSEEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
    "|[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
_MOST_SHOWN = 20


class Refused(Exception):
    """The text cannot be used at all; the diagnostics say why."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics


def refuse(
    code: str, message: str, span: Span, hint: str | None = None, related: tuple[Related, ...] = ()
) -> Refused:
    """The exception for one error in the text itself."""
    return Refused(Diagnostic(code, Severity.ERROR, message, hint, (), span, related))


def decode(source: str | bytes) -> str:
    """The text in *source* without its byte order mark; raises Refused."""
    if len(source) > LARGEST_BYTES:
        raise refuse("BP009", f"the file has {len(source)} bytes; a plan has at most {LARGEST_BYTES}", START)
    text = source if isinstance(source, str) else _decode_utf8(source)
    text = text.removeprefix("\ufeff")
    unseen = list(islice(_UNSEEN.finditer(text), _MOST_SHOWN))
    if unseen:
        raise Refused(*(_unseen(text, match) for match in unseen))
    return text


def _decode_utf8(source: bytes) -> str:
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8").removeprefix("\ufeff")
        raise refuse(
            "BP007",
            f"byte 0x{source[error.start]:02x} is not UTF-8 text",
            _place(before),
            "save the file as UTF-8",
        ) from None


def _unseen(text: str, match: re.Match[str]) -> Diagnostic:
    character, place = match[0], _place(text[: match.start()])
    if character == "\r":
        message, hint = "a lone carriage return ends this line", "save the file with LF or CRLF line ends"
    else:
        message, hint = f"U+{ord(character):04X} cannot be seen in a text", "remove it, or write it as an escape"
    return Diagnostic("BP007", Severity.ERROR, message, hint, (), place)


def _place(before: str) -> Span:
    """The place of the character that follows the text *before*."""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Span(line, column, line, column + 1)
