"""Rules about the fallback card: the right image, a card of its own, and that there is one."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Severity, short
from bootplan.images import LARGE_MEMORY_BYTES, end_of_name, is_placeholder, read_name
from bootplan.plan import Plan
from bootplan.rules.names import other_release, wrong_file
from bootplan.rules.rule import Finding, rule

_FILE = ("fallback", "image", "file")


@rule("BP801", reads="board fallback")
def card_is_for_this_board(plan: Plan, board: Board) -> Iterator[Finding]:
    """The fallback's image is OpenWrt's image of an SD card, for the plan's board.

    It is called `…bananapi_bpi-r4-sdcard.img.gz`, or `…bananapi_bpi-r4-poe-sdcard.img.gz` for the
    board with the 2.5GE port. The images of the Lite and the Pro are for other boards, although
    their names begin with bpi-r4, too. Those of the vendor's SDK and of Frank-W divide the card
    in another way, and the script would not know it again.

    Wrong:
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-lite-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt target/linux/mediatek/image/filogic.mk: the profiles and their artifacts.
    """
    if plan.fallback is not None:
        yield from wrong_file(plan, board, plan.fallback.image.file, _FILE, board.files.card)


@rule("BP802", Severity.WARNING, reads="firmware fallback")
def card_is_of_the_same_release(plan: Plan, board: Board) -> Iterator[Finding]:
    """The fallback is best of the release that the router runs.

    A card of another release starts the router all the same, and an older one that was proven is
    better than none. But settings of 25.12 do not fit 24.10, where ports have other names. And
    U-Boot's menu on the card installs *its* boot loader and system to SPI-NAND: a router
    repaired that way has another generation of them than the plan, and the mix of an old U-Boot
    with a new image has kept a board from starting.

    Wrong:
        fallback:
          medium: sd
          image:
            file: openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: DEVICE_COMPAT_VERSION 1.1 since 25.12 in OpenWrt
    target/linux/mediatek/image/filogic.mk; openwrt issue 20873.
    """
    version = None if plan.fallback is None else other_release(plan, board, plan.fallback.image.file)
    if version is not None:
        yield Finding(
            _FILE,
            f"the fallback is of OpenWrt {version}, the router runs {plan.firmware.release}",
            "it starts, but settings may not fit it, and its menu installs its own boot loader",
            related=(("the release is chosen here", ("firmware", "release")),),
        )


@rule("BP803", Severity.WARNING, reads="boot fallback")
def card_is_another_one(plan: Plan, board: Board) -> Iterator[Finding]:
    """A router that runs from an SD card needs a second card as its fallback.

    The board has one slot for cards. The fallback is then another card, which lies in the drawer
    until it takes the place of the first one. Nothing on the router can tell which of both it
    started from, so a fallback like that cannot be proven from there.

    Wrong:
        boot: {medium: sd}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        boot: {medium: nand}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: the strap selects one medium (OpenWrt
    package/boot/uboot-mediatek/patches/310-mt7988-select-rootdisk.patch).
    """
    if plan.fallback is not None and plan.boot.medium == plan.fallback.medium:
        yield Finding(
            ("fallback", "medium"),
            "the router runs from an SD card already, so this is a second one",
            "write on both which is which; never give make-sd the one in use",
            related=(("the boot medium is chosen here", ("boot", "medium")),),
        )


@rule("BP806", Severity.WARNING, reads="bootloader fallback recovery upgrade")
def sum_is_that_of_a_file(plan: Plan, board: Board) -> Iterator[Finding]:
    """A checksum (SHA-256) is that of a file, and no placeholder.

    The example plans have 0123456789abcdef… where the checksum of your file belongs. No file has
    that one: the script would refuse every file, and the line of the recovery sheet that compares
    it would never write. `bootplan pin plan.yaml FILE` writes a file's name and checksum into a
    plan.

    Wrong:
        recovery:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb
            sha256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

    Right:
        recovery:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: NIST FIPS 180-4: that a checksum repeats its first half has a chance of 1 in 2**128.
    """
    for place, image in plan.files().items():
        if is_placeholder(image.sha256):
            yield Finding(
                (*place, "sha256"),
                f"{short(image.sha256, 17)} is a placeholder: no file has this checksum",
                "write what sha256sum prints, or let `bootplan pin` do it",
            )


@rule("BP804", reads="board fallback")
def card_is_for_this_memory(plan: Plan, board: Board) -> Iterator[Finding]:
    """The card's BL2 is for the memory that the board has.

    A card begins with a BL2, and it carries those of SPI-NAND and eMMC, which U-Boot's menu
    installs. For boards with 8 GiB there is another image, `…-sdcard_8g.img.gz`, and only
    snapshot has it. The card may be of a snapshot where the router runs a release: it is a
    way to start, and not what runs every day.

    Wrong:
        board: {model: bpi-r4, ram: 8GiB}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        board: {model: bpi-r4, ram: 8GiB}
        fallback:
          medium: sd
          image:
            file: openwrt-mediatek-filogic-bananapi_bpi-r4-sdcard_8g.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt commits 02b2dd35 and 794b4dee, PR 21437: sdcard_8g.img.gz, on main only.
    """
    found = None if plan.fallback is None else read_name(plan.fallback.image.file, board)
    if found is None:
        return
    small, large = board.files.card, board.files.large_memory[board.files.card]
    related = (("the memory is written here", ("board", "ram")),) if plan.board.ram else ()
    if found.part == small and plan.board.ram == LARGE_MEMORY_BYTES:
        yield Finding(
            _FILE,
            "this card has the boot loader of boards with 4GiB, the plan says 8GiB",
            f"take a snapshot's …{end_of_name(plan, board, large)}",
            related=related,
        )
    elif found.part == large and plan.board.ram != LARGE_MEMORY_BYTES:
        says = "says 4GiB" if plan.board.ram else "does not say how much the board has"
        yield Finding(
            _FILE,
            f"this card has the boot loader of boards with 8GiB, the plan {says}",
            f"take …{end_of_name(plan, board, small)}, or write `ram: 8GiB` if the board has them",
            related=related,
        )


@rule("BP805", Severity.NOTE, reads="boot fallback bootloader")
def there_is_a_fallback(plan: Plan, board: Board) -> Iterator[Finding]:
    """A router that starts from SPI-NAND or eMMC deserves a card that starts it when they do not.

    The switch selects one medium, and the boot ROM tries no other. When the boot loader there is
    damaged, only a card that is ready, and was tried once, brings the router back; to make one
    then takes a second computer and the right image. With `fallback:` the script makes the card
    (make-sd), and the router remembers when it last started from it (prove-fallback).

    Wrong:
        boot: {medium: nand}

    Right:
        boot: {medium: nand}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt package/boot/uboot-mediatek/patches/310-mt7988-select-rootdisk.patch;
    frank-w/u-boot issue 16: "System halt!", and no other medium is tried.
    """
    if plan.fallback is None and plan.bootloader is None and plan.boot.medium != "sd":
        yield Finding(
            ("boot", "medium"),
            "if this medium does not start one day, no other is tried",
            "make an SD card that does: add `fallback:`",
        )
