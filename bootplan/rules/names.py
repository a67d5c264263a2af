"""What the rules about files of a release have in common: is the name that of the right file?"""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Path, short
from bootplan.images import end_of_name, for_memory, is_of_release, read_name
from bootplan.plan import Plan
from bootplan.rules.rule import Finding

NOT_MADE = ("bl2.img", "fip.img", "emmc.img")
"""Ends of names that guides tell and OpenWrt does not make for this board."""


def wrong_file(plan: Plan, board: Board, name: str, here: Path, part: str) -> Iterator[Finding]:
    """What speaks against *name*, written at *here*, being the file *part* of the plan's board, for any memory."""
    hint = f"its name ends with {end_of_name(plan, board, for_memory(plan, board, part))}"
    not_made = next((end for end in NOT_MADE if name.endswith(f"-{end}")), None)
    found = read_name(name, board)
    if not_made:
        yield Finding(here, f"OpenWrt has no *-{not_made} for this board", hint)
        return
    if found is None:
        message = f"'{short(name, 120)}' is no file of OpenWrt for a BPI-R4"
        yield Finding(here, message, f"{hint}; those of others expect another layout")
        return
    if found.model != plan.board.model:
        reason = board.models[found.model].reason
        yield Finding(
            here,
            f"this file is for {found.model}, the plan is for {short(plan.board.model)}"
            + (f": {reason}" if reason else ""),
            hint,
            related=(("the board is chosen here", ("board", "model")),),
        )
    if found.part not in (part, board.files.large_memory.get(part)):
        what = _what(board, found.part)
        yield Finding(here, f"this is {what or 'another file'}, not {_what(board, part)}", hint)


def other_release(plan: Plan, board: Board, name: str) -> str | None:
    """The release that *name* says it is of, if that is not the plan's."""
    found = read_name(name, board)
    if found is None or is_of_release(found, plan.firmware.release, board):
        return None
    return found.version


def _what(board: Board, part: str) -> str | None:
    """What the file *part* is, in words; None for one that no plan names."""
    files = board.files
    words = {files.system: "an image for sysupgrade", files.card: "the image of an SD card"}
    words |= {files.recovery: "the recovery system"}
    words |= {one: f"the BL2 of {board.media[medium].title}" for medium, one in files.bl2.items()}
    words |= {one: f"the FIP of {board.media[medium].title}" for medium, one in files.fip.items()}
    words |= {large: words[small] for small, large in files.large_memory.items()}
    return words.get(part)
