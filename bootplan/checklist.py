"""The fallback that has to be proven, and what the list of a plan asks besides what the router sees itself."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.images import TITLES, read_name
from bootplan.plan import Plan
from bootplan.slots import Titled


def checklist_steps(plan: Plan, board: Board) -> Iterator[Titled]:
    """What `prove-fallback`, `status` and `checklist` have to know of the plan."""
    yield from _fallback(plan, board)
    for place, image in plan.files().items():
        title = TITLES[place]
        yield f"the {title}", ("want_file", image.file, image.sha256, title), (*place, "file")
    yield from _asked(plan, board)


def _fallback(plan: Plan, board: Board) -> Iterator[Titled]:
    if plan.fallback is None:
        yield "no fallback", ("no_fallback",), ("boot", "medium")
        return
    name = read_name(plan.fallback.image.file, board)
    version = name.version if name and name.version else ""
    title = board.media[plan.boot.medium].menu_title
    yield "the fallback", ("fallback_is", plan.fallback.max_age_days, version, title), ("fallback",)
    # A card of another release may call the board by another name.
    names = {one: None for release in board.models[plan.board.model].names.values() for one in release}
    card = board.media[plan.fallback.medium]
    call = ("fallback_runs_on", board.soc, board.target, " ".join(names), card.switch, card.menu_title)
    yield "where the fallback runs", call, ("board", "model")


def _asked(plan: Plan, board: Board) -> Iterator[Titled]:
    """What no router can see."""
    own, card = board.media[plan.boot.medium], board.media["sd"]
    positions = f"A={own.switch[0]} B={own.switch[1]} for {own.title}"
    if plan.boot.medium != "sd":
        positions += f", A={card.switch[0]} B={card.switch[1]} for the card"
    asked = [
        ("card-printed", "the recovery card is printed and lies beside the router (bootplan card, on your computer)"),
        ("serial-cable", "a serial cable is at hand (3.3 V, 115200 8N1) and was tried: you saw U-Boot's menu"),
        ("switch", f"you know the switch SW3: {positions}; it is read at power-on only"),
        (
            "backup",
            "a backup of this router lies on another computer (backup USER@HOST:FOLDER, or copy the archive there)",
        ),
    ]
    if plan.fallback is not None:
        asked.append(("card-kept", "the SD card lies where you find it, and says on it what it is"))
    if plan.recovery is not None:
        server = plan.recovery.server
        asked.append(
            ("tftp", f"a computer can have the address {server}, and has a TFTP server with the recovery image")
        )
    for name, text in asked:
        yield name, ("ask_owner", name, text), ("boot", "medium")
