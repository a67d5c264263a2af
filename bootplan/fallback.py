"""The fallback card as steps: which image it holds and where, and the texts that its rescue kit brings."""

from collections.abc import Iterator
from dataclasses import dataclass

from bootplan.board import Board
from bootplan.card import recovery_card_markdown
from bootplan.document import Document
from bootplan.images import read_name
from bootplan.plan import Plan
from bootplan.slots import Titled

_SECTORS_PER_KIB = 2


@dataclass(frozen=True)
class Text:
    """A text that the script carries with it: the function that prints it, what it is, and its content."""

    name: str
    summary: str
    content: str


def fallback_steps(plan: Plan, board: Board) -> Iterator[Titled]:
    """What `make-sd` and `check-sd` have to know, or that the plan has no fallback."""
    fallback, medium = plan.fallback, board.media["sd"]
    image = medium.image
    if fallback is None or image is None:
        yield "no fallback", ("no_card",), ()
        return
    name = read_name(fallback.image.file, board)
    release = (name.version if name else None) or "snapshot"
    call = ("fallback_card", fallback.image.file, fallback.image.sha256, release, fallback.max_age_days, medium.switch)
    yield "the card's image", call, ("fallback", "image")
    for part, (start, size) in image.partitions.items():
        place = ("card_place", part, start * _SECTORS_PER_KIB, size * _SECTORS_PER_KIB)
        yield f"partition {part}", place, ("fallback", "medium")


def kit_texts(plan: Plan, board: Board, document: Document) -> tuple[Text, ...]:
    """What the rescue kit needs besides the script itself; nothing without a fallback."""
    if plan.fallback is None:
        return ()
    return (
        Text("kit_plan", "the plan this script was made from, to the byte", document.text),
        Text("kit_card", "the recovery card of that plan", recovery_card_markdown(plan, board)),
    )
