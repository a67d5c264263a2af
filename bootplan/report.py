"""Diagnostics as text for people, as JSON for programs, as annotations for GitHub."""

from bootplan.diagnostics import Diagnostic, Severity, Span
from bootplan.document import Document

_WIDEST = 120  # characters of a source line that are shown
_BEFORE = 60  # of them, at most, before the mark
_MOST = 100  # diagnostics that people are shown
_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.NOTE: "36"}


def as_text(diagnostics: tuple[Diagnostic, ...], document: Document, colour: bool = False) -> str:
    """The first diagnostics, each with the line it is about and a mark under the place."""
    return "".join(_text(one, document, colour) for one in diagnostics[:_MOST]) + _rest(diagnostics)


def as_json(diagnostics: tuple[Diagnostic, ...], document: Document) -> list[dict[str, object]]:
    """A flat list of objects; lines and columns count from 1."""
    return [
        {
            "file": document.name,
            "line": one.span.line,
            "column": one.span.column,
            "end_line": one.span.end_line,
            "end_column": one.span.end_column,
            "severity": str(one.severity),
            "code": one.code,
            "message": one.message,
            "hint": one.hint,
            "path": list(one.path),
            "related": [
                {"line": other.span.line, "column": other.span.column, "message": other.message}
                for other in one.related
            ],
        }
        for one in diagnostics
    ]


def as_github(diagnostics: tuple[Diagnostic, ...], document: Document) -> str:
    """Workflow commands that GitHub shows at the lines of a pull request.

    Source: docs.github.com, "Workflow commands for GitHub Actions"; escaping as in actions/toolkit, command.ts;
    line ends are visible escapes already.
    """
    return "".join(_github(one, document.name) for one in diagnostics[:_MOST]) + _rest(diagnostics)


def _rest(diagnostics: tuple[Diagnostic, ...]) -> str:
    number = len(diagnostics) - _MOST
    return f"and {number} more; --format json has all\n" if number > 0 else ""


def _github(one: Diagnostic, name: str) -> str:
    kind = "notice" if one.severity is Severity.NOTE else str(one.severity)
    span = one.span
    place = f"file={_property(name)},line={span.line},endLine={span.end_line}"
    if span.line == span.end_line:  # columns count within one line only
        place += f",col={span.column},endColumn={span.end_column}"
    message = f"{one.message}; {one.hint}" if one.hint else one.message
    return f"::{kind} {place},title={_property(one.code)}::{_data(message)}\n"


def _data(text: str) -> str:
    return visible(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _text(one: Diagnostic, document: Document, colour: bool) -> str:
    head = f"{visible(document.name)}:{one.span.line}:{one.span.column}: "
    kind = _paint(f"{one.severity}:", _COLOURS[one.severity], colour)
    text = f"{head}{kind} {visible(one.message)} [{one.code}]\n"
    text += _excerpt(one.span, one.hint, document, _COLOURS[one.severity], colour)
    for other in one.related:
        text += _excerpt(other.span, other.message, document, "36", colour)
    return text + "\n"


def _excerpt(span: Span, label: str | None, document: Document, shade: str, colour: bool) -> str:
    """The line of *span*, shortened around it, a mark below, and the *label* beside the mark."""
    line = document.lines[span.line - 1] if span.line <= len(document.lines) else ""
    start = span.column - 1
    end = span.end_column - 1 if span.end_line == span.line else len(line)
    first = max(0, start - _BEFORE)
    piece = _shown(line[first : first + _WIDEST])
    mark = "^" * max(1, _width(piece[start - first : end - first]))
    gutter = " " * len(str(span.line))
    said = f" {visible(label)}" if label else ""
    below = " " * _width(piece[: start - first]) + _paint(mark, shade, colour) + said
    return f" {gutter} |\n {span.line} | {piece}\n {gutter} | {below}\n"


def visible(text: str) -> str:
    """*text* with everything that could move the cursor of a terminal written as an escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _shown(text: str) -> str:
    """*text* with one visible character for each character that is none, so that marks stay in place."""
    return "".join(one if one.isprintable() else " " if one == "\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def _width(text: str) -> int:
    """The columns *text* takes on a terminal: East Asian characters two, marks upon another character none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(0 if category(one) in ("Mn", "Me") else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def _paint(text: str, shade: str, colour: bool) -> str:
    return f"\x1b[{shade}m{text}\x1b[0m" if colour else text
