"""The bytes of a file as text: UTF-8, of a sane size, and nothing in it that cannot be seen."""

from collections.abc import Iterator
from itertools import islice

from bootplan.diagnostics import Diagnostic, Related, Severity, Span

LARGEST_BYTES = 2**18
START = Span(1, 1, 1, 1)

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
        raise refuse("BP009", f"more than {LARGEST_BYTES // 1024} KiB of text", START)
    text = source if isinstance(source, str) else _decode_utf8(source)
    text = text.removeprefix("\ufeff")
    unseen = list(islice(_unseen(text), _MOST_SHOWN))
    if unseen:
        raise Refused(*unseen)
    return text


def _decode_utf8(source: bytes) -> str:
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8").removeprefix("\ufeff")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"byte 0x{source[error.start]:02x} is not UTF-8 text"
        raise refuse("BP007", message, Span(line, column, line, column + 1), "save the file as UTF-8") from None


def _unseen(text: str) -> Iterator[Diagnostic]:
    """What a reader of *text* cannot see: control characters, lone carriage returns, characters that hide or
    reorder others. Python calls all of them unprintable.
    """
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.replace("\t", "").isprintable():
            continue
        for column, character in enumerate(line, start=1):
            if character == "\r":
                message, hint = "a lone carriage return stands here", "save the file with LF or CRLF line ends"
            elif character != "\t" and not character.isprintable():
                message, hint = f"U+{ord(character):04X} cannot be seen in a text", "remove it"
            else:
                continue
            span = Span(number, column, number, column + 1)
            yield Diagnostic("BP007", Severity.ERROR, message, hint, (), span)
