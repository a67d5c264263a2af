"""Rules about the board itself: its model, its boot switch, and what shares a wire."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import short
from bootplan.plan import Plan
from bootplan.rules.rule import Finding, rule


@rule("BP201", reads="board")
def board_is_supported(plan: Plan, board: Board) -> Iterator[Finding]:
    """The plan is for a board this program knows.

    Several boards are sold as "BPI-R4 something". Some have another SoC or another layout of
    their media, and a script for one would damage the other.

    Wrong:
        board: {model: bpi-r4-lite}

    Right:
        board: {model: bpi-r4}

    Source: OpenWrt target/linux/mediatek/image/filogic.mk and
    package/boot/uboot-mediatek/patches/470-add-bpi-r4-lite.patch.
    """
    model = board.models.get(plan.board.model)
    if model is not None and model.supported:
        return
    known = [name for name, one in board.models.items() if one.supported]
    if model is not None:
        yield Finding(
            ("board", "model"),
            f"'{plan.board.model}' is not supported: {model.reason}",
            f"write {model.instead}"
            if model.instead
            else f"a script for a BPI-R4 would damage it; only {' and '.join(known)} are supported",
        )
        return
    same = next((name for name in board.models if _letters(name) == _letters(plan.board.model)), None)
    hint = f"if it is one of these, write {' or '.join(known)}"
    if same in known:
        hint = f"did you mean '{same}'?"
    elif same:
        hint = f"did you mean '{same}'? it is not supported: {board.models[same].reason}"
    yield Finding(("board", "model"), f"there is no board '{short(plan.board.model)}' here", hint)


def _letters(name: str) -> str:
    """*name* without case and punctuation; a name that is merely close may be that of another board."""
    return "".join(one for one in name.lower() if one.isalnum())


@rule("BP202", reads="boot")
def switch_selects_the_boot_medium(plan: Plan, board: Board) -> Iterator[Finding]:
    """The digits of SW3 select the medium the plan boots from.

    The boot ROM does not try one medium after the other: the two digits of SW3 select exactly
    one. They are read at power-on only, so a reboot after moving the switch changes nothing.
    Published pictures contradict each other about the lever's directions; only the digits
    beside A and B count, and the title of U-Boot's menu confirms them.

    Wrong:
        boot: {medium: sd, switch: "01"}

    Right:
        boot: {medium: sd, switch: "11"}

    Source: OpenWrt package/boot/uboot-mediatek/patches/310-mt7988-select-rootdisk.patch;
    https://7ji.github.io/booting/2024/07/04/booting-debian-from-emmc-on-bpi-r4.html
    """
    medium = board.media[plan.boot.medium]
    if plan.boot.switch is None or plan.boot.switch == medium.switch:
        return
    selected = [one.title for one in board.media.values() if one.switch == plan.boot.switch]
    yield Finding(
        ("boot", "switch"),
        f"switch {plan.boot.switch} selects {selected[0] if selected else 'no medium at all'}, not {medium.title}",
        f"set A={medium.switch[0]} B={medium.switch[1]}, then power-cycle: switches are read at power-on only; "
        f"U-Boot's menu must say {medium.menu_title}",
    )


@rule("BP203", reads="boot media")
def card_and_emmc_exclude_each_other(plan: Plan, board: Board) -> Iterator[Finding]:
    """A system that booted from the SD card does not see the eMMC, and no other system sees the card.

    Both hang on the same controller, and both are called /dev/mmcblk0. A script that wants the
    eMMC while the card is in use would overwrite the card it runs from. Started from SPI-NAND,
    OpenWrt connects the eMMC.

    Wrong:
        boot: {medium: sd}
        media:
          chip: {type: emmc}
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Right:
        boot: {medium: sd}
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions: [{name: root, size: 8GiB, filesystem: ext4}]

    Source: OpenWrt commit f16dc4b42fb2: "8 GiB eMMC or microSD (cannot be used both)".
    """
    shared = board.identity.shared_controller
    connected = plan.boot.medium if plan.boot.medium in shared else "emmc"
    for name, medium in plan.media.items():
        if medium.type in shared and medium.type != connected:
            booted, unseen = board.media[plan.boot.medium].title, board.media[medium.type].title
            yield Finding(
                ("media", name, "type"),
                f"booted from {booted}, the router does not see {unseen}",
                "SD card and eMMC share one controller; remove this medium or change boot.medium",
                related=(("the boot medium is chosen here", ("boot", "medium")),),
            )
