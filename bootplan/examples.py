"""The example plans: what they are called, what each is for, and their texts as a plan to begin with."""

import re
from dataclasses import dataclass
from pathlib import Path

from bootplan.assets import PLANS

_FOR_EDITORS = re.compile(r"\A# yaml-language-server: .*\n#\n")  # it names the schema where a checkout has it


@dataclass(frozen=True)
class Example:
    """An example plan; *about* is the first line of its comment."""

    path: Path
    about: str
    text: str


def examples() -> dict[str, Example]:
    """All examples by their names, in order."""
    return {path.stem: _example(path) for path in sorted(PLANS.glob("*.yaml"))}


def _example(path: Path) -> Example:
    text = _FOR_EDITORS.sub("", path.read_text(encoding="utf-8"))
    return Example(path, text.partition("\n")[0].removeprefix("# "), text)
