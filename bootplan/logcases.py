"""What serial logs of the board say, as data: models for schemas/bootlog.yaml, and their loader.

A pattern is a regular expression that is searched for in one line, without time stamps, colours and the blanks around
it. Each one must hold a piece of plain text: a line without that is not looked at any closer, so long logs are quick.
"""

import re
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bootplan.assets import SCHEMAS

LEAST_TEXT = 2
Condition = Literal["any", "ram-4GiB", "ram-8GiB", "disk", "no-disk", "other-medium"]
MediumName = Literal["nand", "emmc", "sd"]
# What the lines to type may name: the board's facts, and the plan's values when there is a plan.
VALUES = ("bl2", "card", "fip", "nand", "emmc", "sd", "plan", "recovery", "server", "switch", "system", "title")

_OPENS, _CLOSES = "([", {"(": ")", "[": "]"}


def plain_text(pattern: str) -> str:
    """The longest text that stands in everything *pattern* matches, as far as it is simple to see."""
    runs: list[str] = []
    run, place = "", 0
    while place < len(pattern):
        one = pattern[place]
        if one == "|":
            return ""
        if one in _OPENS:
            runs, run, place = [*runs, run], "", _behind_group(pattern, place)
            continue
        if one == "\\" and place + 1 < len(pattern):
            place += 1
            letter = pattern[place]
            runs, run = ([*runs, run], "") if letter.isalnum() else (runs, run + letter)
        elif one in "*?{":  # what stands before it may be missing
            runs, run = [*runs, run[:-1]], ""
            place = pattern.find("}", place) if one == "{" else place
        elif one in "+.^$":
            runs, run = [*runs, run], ""
        else:
            run += one
        place += 1
    return max([*runs, run], key=len)


def _behind_group(pattern: str, place: int) -> int:
    """The place behind the group or set of characters that begins at *place*."""
    opens, closes, depth = pattern[place], _CLOSES[pattern[place]], 0
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
        elif pattern[place] == opens:
            depth += 1
        elif pattern[place] == closes:
            depth -= 1
        place += 1
        if not depth:
            break
    return place


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    if len(plain_text(text)) < LEAST_TEXT:
        raise ValueError("a pattern needs plain text that stands in all it matches")
    return text


def _step(text: str) -> str:
    try:
        text.format_map(dict.fromkeys(VALUES, ""))
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"no value {error}; there are {', '.join(VALUES)}") from None
    return text


Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], Field(strict=False)]
Steps = Annotated[tuple[Annotated[str, AfterValidator(_step)], ...], Field(strict=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class Stage(_Facts):
    """A stage of a start, in the order they come; *starts* are those of its signs that also begin a new start."""

    name: str
    title: str
    starts: Patterns = ()
    signs: Patterns
    source: str = Field(min_length=1)
    proven: bool = True


class Marks(_Facts):
    """What shows the medium a start comes from, or the system that U-Boot loads."""

    signs: Patterns
    source: str = Field(min_length=1)
    proven: bool = True


class Case(_Facts):
    """Something that a log shows: what it means, and what to do.

    *stop* is what ends a start, *fault* what goes wrong in one that goes on, *note* what looks like either and is
    neither. One of *seen* is the proof. All *needs*, and one of *needs_any*, must have been seen up to it, and the
    start must have come to the stage *needs_reached*. The case does not hold when one of *unless* is anywhere in that
    start, one of *unless_before* ahead of the proof, one of *unless_after* behind it, when the start came to the stage
    *unless_reached* behind it, or when one of *unless_case* holds, which stand before this one. *on* has the steps for
    single media, in place of *do*, and *with_slots* those for a plan with slots; *failure* is the name of the failure
    on the recovery card whose steps are taken instead when there is a plan, with *failure_with* only when that has
    slots, or a root by the kernel's command line.
    """

    name: str
    title: str
    stage: str
    kind: Literal["stop", "fault", "note"]
    seen: Patterns = ()
    needs: Patterns = ()
    needs_any: Patterns = ()
    needs_reached: str | None = None
    unless: Patterns = ()
    unless_before: Patterns = ()
    unless_after: Patterns = ()
    unless_reached: str | None = None
    unless_case: Annotated[tuple[str, ...], Field(strict=False)] = ()
    media: Annotated[tuple[MediumName, ...], Field(strict=False)] = ()
    plan: Condition = "any"
    means: Annotated[str, AfterValidator(_step)]
    do: Steps
    on: dict[MediumName, Steps] = {}
    with_slots: Steps = ()
    failure: str | None = None
    failure_with: Literal["any", "cmdline", "slots"] = "any"
    source: str = Field(min_length=1)
    proven: bool = True

    @property
    def patterns(self) -> tuple[str, ...]:
        """Everything this case looks for."""
        return (*self.seen, *self.needs, *self.needs_any, *self.unless, *self.unless_before, *self.unless_after)


class Cases(_Facts):
    """All that is known about logs."""

    stages: Annotated[tuple[Stage, ...], Field(strict=False, min_length=1)]
    boot_media: dict[MediumName, Marks]
    systems: dict[Literal["production", "recovery"], Marks]
    cases: Annotated[tuple[Case, ...], Field(strict=False)]

    def place(self, stage: str) -> int:
        """The number of the *stage*, counted from 0."""
        return next(number for number, one in enumerate(self.stages) if one.name == stage)

    @property
    def patterns(self) -> tuple[str, ...]:
        """All patterns, each one once."""
        found = [one for stage in self.stages for one in (*stage.starts, *stage.signs)]
        found += [one for marks in (*self.boot_media.values(), *self.systems.values()) for one in marks.signs]
        found += [one for case in self.cases for one in case.patterns]
        return tuple(dict.fromkeys(found))


class WrongCases(Exception):
    """The file of cases is wrong: a mistake of its author, not of the user."""


@cache
def load_cases() -> Cases:
    """The cases in schemas/bootlog.yaml; raises WrongCases with every mistake and its place."""
    from bootplan.document import parse
    from bootplan.shape import read

    path = SCHEMAS / "bootlog.yaml"
    document = parse(path.read_bytes(), str(path))
    cases, diagnostics = read(Cases, document)
    if cases is None or diagnostics:
        raise WrongCases(
            "\n".join(f"{path}:{one.span.line}:{one.span.column}: {one.message} [{one.code}]" for one in diagnostics)
        )
    return cases
