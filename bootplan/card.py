"""The recovery card: one page that tells an owner with a serial cable what to type, when nothing else tells anything.

The same plan gives the same bytes: there is no date on it. As Markdown it is plain ASCII, since it also travels in the
script and is read on a serial console.
"""

import re
from dataclasses import dataclass
from functools import cache
from textwrap import wrap

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bootplan.assets import TEMPLATES
from bootplan.board import Board, BootMedium
from bootplan.chain import Chain, chain, digits
from bootplan.failures import SCRIPT, SCRIPT_FROM_CARD, Failure, failures
from bootplan.images import TITLES, is_placeholder
from bootplan.picture import across, down
from bootplan.plan import Plan

LARGEST_BYTES = 12 * 1024  # of the Markdown
_WIDTH = 100
_MOST_LINES = {"large": 116, "middle": 135, "small": 165}  # of one printed page, by what Chromium prints
_COLUMN = 75  # characters
_MARKUP = re.compile(r"([\\`*_<>\[\]#|&~])")


@dataclass(frozen=True)
class File:
    """A file that the plan names, and what it is for; without a sum when the plan has a placeholder."""

    role: str
    name: str
    sha256: str | None


@dataclass(frozen=True)
class Choice:
    """A medium to start from: how to choose it, how to know it, and what a system started from it sees."""

    title: str
    own: bool
    digits: str
    menu_title: str
    sees: str
    recovery_sees: str


@dataclass(frozen=True)
class Card:
    """Everything that stands on the card."""

    name: str
    board: str
    release: str
    serial: str
    level: str
    menu: str
    chain: Chain
    choices: tuple[Choice, ...]
    failures: tuple[Failure, ...]
    files: tuple[File, ...]
    script: str
    script_from_card: tuple[str, ...]
    has_fallback: bool

    @property
    def letters(self) -> str:
        """How large the letters of the printed page can be: large, middle, small or tiny."""
        texts = [text for one in self.failures for text in (one.seen, *(line.text for line in one.steps))]
        parts = len(self.failures) + len(self.files) + 2 * self.has_fallback
        lines = 3 * parts + sum(-(-len(text) // _COLUMN) for text in texts)
        return next((name for name, most in _MOST_LINES.items() if lines <= most), "tiny")


def recovery_card(plan: Plan, board: Board) -> Card:
    """The card of a plan that all rules accept."""
    console = board.console
    return Card(
        name=plan.name,
        board=board.models[plan.board.model].title,
        release=plan.firmware.release,
        serial=console.settings,
        level=console.level,
        menu=f"A key within {console.menu_seconds} s stops the menu, Ctrl-C leads to the prompt {console.prompt}",
        chain=chain(plan, board),
        choices=tuple(_choice(medium, name == plan.boot.medium) for name, medium in board.media.items()),
        failures=failures(plan, board),
        files=tuple(
            File(TITLES[place], image.file, None if is_placeholder(image.sha256) else image.sha256)
            for place, image in plan.files().items()
        ),
        script=SCRIPT,
        script_from_card=SCRIPT_FROM_CARD,
        has_fallback=plan.fallback is not None,
    )


def recovery_card_markdown(plan: Plan, board: Board) -> str:
    """The card as Markdown: plain ASCII, less than `LARGEST_BYTES`."""
    text = _template("card.md.j2").render(card=recovery_card(plan, board))
    return text.encode("ascii", "replace").decode()


def recovery_card_html(plan: Plan, board: Board) -> str:
    """The card as one HTML page that needs nothing else, and no network."""
    card = recovery_card(plan, board)
    return _template("card.html.j2").render(card=card, across=across(card.chain), down=down(card.chain))


def _choice(medium: BootMedium, own: bool) -> Choice:
    stages = medium.stages
    return Choice(medium.title, own, digits(medium.switch), medium.menu_title, stages.sees, stages.recovery_sees)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain=_plain, fold=_fold)
    return environment.get_template(name)


def _plain(text: str) -> str:
    """*text* that means nothing but itself in Markdown."""
    return _MARKUP.sub(r"\\\1", text)


def _fold(text: str, indent: int = 0) -> str:
    """*text* in lines that a terminal shows whole; the lines behind the first one are indented."""
    return "\n".join(wrap(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))
