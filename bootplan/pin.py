"""Put names and sums into a plan: edits at the places where they belong, and not one other byte."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bootplan.board import Board
from bootplan.diagnostics import Diagnostic, Path, Span
from bootplan.document import Document, parse
from bootplan.fields import FILE_NAME
from bootplan.images import PLACES, kind_of_part, read_name
from bootplan.inspection import Content
from bootplan.verdict import judge

_MARK = "\ufeff"

Wanted = Mapping[str, "str | Wanted"]
"""What a plan shall say: text, or mappings in one another, by key."""


class CannotPin(Exception):
    """The plan is written in a way that cannot be edited; the text says where and what to do."""


class Pin(NamedTuple):
    """A file that a plan shall name: its place there, its name and its SHA-256."""

    place: tuple[str, str]
    name: str
    sha256: str


def wanted(pins: list[Pin], data: Any) -> "Wanted":
    """What a plan with this *data* shall say to have all *pins*; raises CannotPin when two are for one place."""
    if not isinstance(data, dict):
        raise CannotPin("a plan is a mapping")
    tree: dict[str, dict[str, str | Wanted]] = {}
    for pin in pins:
        section, key = pin.place
        inside = tree.setdefault(section, {})
        if key in inside:
            raise CannotPin(f"there are two files for '{section}.{key}'; give one")
        there = data.get(section)
        if section == "fallback" and "medium" not in (there if isinstance(there, dict) else ()):
            inside["medium"] = "sd"
        inside[key] = {"file": pin.name, "sha256": pin.sha256}
    return tree


def concerns(one: Diagnostic, pin: Pin) -> bool:
    """Whether a diagnostic is about the place of a pin: what is in it, or what it is in."""
    return one.path[:2] == pin.place[: len(one.path)] and bool(one.path)


def pin_of(name: str, content: Content, board: Board) -> Pin:
    """The pin of the file *name* with this *content*; raises CannotPin when no plan can name it."""
    found = read_name(name, board)
    kind = kind_of_part(found.part, board) if found is not None else None
    if kind is None:
        raise CannotPin("its name is not that of a file for a BPI-R4 that a plan can name")
    if not re.fullmatch(FILE_NAME, name):
        raise CannotPin("its name is none that a plan can have; give it one of letters, digits and '._+~-'")
    against = judge(content, name, None, board).against
    if against:
        raise CannotPin("; ".join(against))
    return Pin(PLACES[kind], name, content.sha256)


class _Edit(NamedTuple):
    """New text in place of the characters from *start* to *end*."""

    start: int
    end: int
    text: str


def pinned(source: bytes, document: Document, wanted: Wanted) -> bytes:
    """The plan *source*, of which *document* was made, saying what is *wanted*; raises CannotPin.

    What is there already stays as it is. The result is read again: nothing but what is wanted may differ.
    """
    text = document.text
    for edit in sorted(_Editor(document).edits((), wanted), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    result = (_MARK if source.startswith(_MARK.encode()) else "") + text
    again = parse(result.encode(), document.name)
    if not again.readable or again.diagnostics or again.data != _merged(document.data, wanted):
        raise CannotPin("the plan is written in a way that this program cannot edit; " + _by_hand(wanted))
    return result.encode()


def _merged(data: Any, wanted: Wanted) -> dict[str, Any]:
    """The *data* of a plan with what is *wanted*."""
    merged = dict(data)
    for key, value in wanted.items():
        merged[key] = value if isinstance(value, str) else _merged(merged.get(key, {}), value)
    return merged


def _by_hand(wanted: Wanted) -> str:
    return f"write it by hand: {_flow(wanted)[1:-1]}"


class _Editor:
    """Finds the edits that make one document say more."""

    def __init__(self, document: Document) -> None:
        self._document, self._text = document, document.text
        self._starts = [0]
        for line in self._text.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._newline = "\r\n" if "\r\n" in self._text else "\n"

    def edits(self, path: Path, wanted: Wanted) -> Iterator[_Edit]:
        """The edits for what is *wanted* in the mapping at *path*."""
        data = self._at(path)
        if not isinstance(data, dict):
            raise CannotPin(f"{self._place(path)} must be a mapping" + "; remove the key" * (data is None))
        self._need_own(path)
        missing = {}
        for key, value in wanted.items():
            if key not in data:
                missing[key] = value
            elif not isinstance(value, str):
                yield from self.edits((*path, key), value)
            elif data[key] != value:
                yield self._replacement((*path, key), value)
        if missing:
            yield self._addition(path, missing)

    def _replacement(self, path: Path, value: str) -> _Edit:
        span = self._need_own(path)
        if isinstance(self._at(path), dict | list) or span.line != span.end_line:
            raise CannotPin(f"{self._place(path)} is no text on one line")
        start, end = self._range(span)
        if span == self._document.keys.get(path):  # nothing is written behind the colon
            raise CannotPin(f"{self._place(path)} has no value; write any, it is replaced")
        quote = self._text[start] if self._text[start] in "'\"" else ""
        if not quote and path[-1] != "file":
            quote = '"'
        return _Edit(start, end, f"{quote}{value}{quote}")

    def _addition(self, path: Path, missing: Wanted) -> _Edit:
        span = self._document.values[path]
        start, end = self._range(span)
        inside = [
            one
            for key in self._at(path)
            for one in (self._document.keys[(*path, key)], self._document.values[(*path, key)])
            if start <= self._range(one)[0] and self._range(one)[1] <= end
        ]
        if self._text[start] == "{":
            if not inside:  # what is there may still be `<<:`
                more = ", " if "<<" in self._text[start:end] else ""
                return _Edit(start + 1, start + 1, _flow(missing)[1:-1] + more)
            behind = max(self._range(one)[1] for one in inside)
            return _Edit(behind, behind, f", {_flow(missing)[1:-1]}")
        indent = span.column - 1
        if not inside:  # `<<:` alone has no keys with a place here
            first = self._starts[span.line - 1]
            lines = self._newline.join(_block(missing, indent, self._step()))
            return _Edit(first, first, lines + self._newline)
        last = max(one.end_line for one in inside)
        while last < len(self._document.lines) and _is_comment(self._document.lines[last], indent):
            last += 1
        lines = self._newline.join(_block(missing, indent, self._step()))
        if last == len(self._document.lines):  # the last line has no end, and gets none
            return _Edit(len(self._text), len(self._text), self._newline + lines)
        return _Edit(self._starts[last], self._starts[last], lines + self._newline)

    def _need_own(self, path: Path) -> Span:
        """Where the value at *path* is written, when it stands there and nowhere else."""
        span = self._document.values[path]
        start, _ = self._range(span)
        around = self._document.values[path[:-1]]
        key = self._document.keys.get(path)
        inside = self._range(around)[0] <= start < max(self._range(around)[1], start + 1)
        if (
            self._text[start : start + 1] in ("&", "*")
            or not inside
            or (key is not None and start < self._range(key)[0])
        ):
            raise CannotPin(
                f"{self._place(path)} is also used elsewhere (an anchor & or an alias *), "
                "so what is changed here would change there, too; write it out"
            )
        return span

    def _step(self) -> int:
        """By how many blanks this plan indents: as its first mapping inside another does."""
        for path, span in self._document.keys.items():
            if len(path) == 2 and span.line > self._document.keys[path[:1]].line and span.column > 1:
                return span.column - self._document.keys[path[:1]].column
        return 2

    def _range(self, span: Span) -> tuple[int, int]:
        return self._starts[span.line - 1] + span.column - 1, self._starts[span.end_line - 1] + span.end_column - 1

    def _at(self, path: Path) -> Any:
        data = self._document.data
        for key in path:
            data = data[key]
        return data

    def _place(self, path: Path) -> str:
        line = self._document.span(path).line
        return f"'{'.'.join(map(str, path))}' at line {line}" if path else "the plan"


def _is_comment(line: str, indent: int) -> bool:
    """Whether *line* is a comment that still belongs to what is indented by *indent* above it."""
    bare = line.lstrip(" \t")
    return bare.startswith("#") and len(line) - len(bare) >= max(indent, 1)


def _scalar(key: str, value: str) -> str:
    return f'"{value}"' if key == "sha256" else value


def _flow(wanted: Wanted) -> str:
    """*wanted* as one line of YAML."""
    pieces = [
        f"{key}: {_scalar(key, value) if isinstance(value, str) else _flow(value)}" for key, value in wanted.items()
    ]
    return "{" + ", ".join(pieces) + "}"


def _block(wanted: Wanted, indent: int, step: int) -> Iterator[str]:
    """*wanted* as lines of YAML without their ends."""
    for key, value in wanted.items():
        if isinstance(value, str):
            yield f"{' ' * indent}{key}: {_scalar(key, value)}"
        else:
            yield f"{' ' * indent}{key}:"
            yield from _block(value, indent + max(step, 1), step)
