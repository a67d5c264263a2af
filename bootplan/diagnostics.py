"""What the program tells its user: one value per mistake, and where it is written."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

Path = tuple[str | int, ...]
"""A place in the data: the keys and list positions that lead to it."""


class Severity(StrEnum):
    """How much a diagnostic matters: an error stops, a warning stops with --strict, a note never does."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Span(NamedTuple):
    """A piece of the text; lines and columns count from 1, columns in characters, the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


class Related(NamedTuple):
    """A second place that belongs to a diagnostic, and what is to be seen there."""

    message: str
    span: Span


@dataclass(frozen=True)
class Diagnostic:
    """One thing to tell the user: a stable code, one sentence, and the remedy in the hint."""

    code: str
    severity: Severity
    message: str
    hint: str | None
    path: Path
    span: Span
    related: tuple[Related, ...] = ()


def in_order(diagnostics: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """*diagnostics* sorted by place, then by code; what an alias repeats is told once."""
    once = {(one.span, one.code, one.message): one for one in reversed(diagnostics)}
    return tuple(one for _, one in sorted(once.items()))


def short(text: str, most: int = 60) -> str:
    """*text* of a plan as a message repeats it: its beginning when it has more than *most* characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def nearest(word: str, known: list[str]) -> str | None:
    """The one of *known* that *word* is probably a slip of, whatever its case, or None."""
    from difflib import get_close_matches  # needed for wrong plans only

    small = {one.lower(): one for one in known}
    close = get_close_matches(word[:64].lower(), small, n=1, cutoff=0.7)
    return small[close[0]] if close else None


def kind_of(value: object) -> str:
    """What a *value* of a plan is, in the words of people who do not write Python."""
    kinds = {type(None): "nothing", bool: "a truth value", str: "text", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), "a number")
