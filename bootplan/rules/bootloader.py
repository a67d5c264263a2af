"""Rules about the files of the boot loader: of the board, the medium, the memory and the release."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Path, Severity
from bootplan.images import LARGE_MEMORY_BYTES, read_name
from bootplan.plan import Plan
from bootplan.rules.names import other_release, wrong_file
from bootplan.rules.rule import Finding, rule


def _files(plan: Plan) -> Iterator[tuple[str, str, Path]]:
    """Of each file that the plan names: its kind, its name, and where that is written."""
    if plan.bootloader is not None:
        for kind, image in (("bl2", plan.bootloader.bl2), ("fip", plan.bootloader.fip)):
            if image is not None:
                yield kind, image.file, ("bootloader", kind, "file")


@rule("BP811", reads="boot bootloader")
def medium_has_a_bootloader_to_repair(plan: Plan, board: Board) -> Iterator[Finding]:
    """The boot loader is repaired on SPI-NAND or eMMC; an SD card is written as a whole.

    OpenWrt has a BL2 and a FIP as files for SPI-NAND and for eMMC. Those of a card are only in
    the image of the card. A card whose boot loader is damaged does not start the router that
    could repair it: write it again on another computer (make-sd).

    Wrong:
        boot: {medium: sd}
        board: {model: bpi-r4, ram: 4GiB}
        bootloader:
          fip:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        boot: {medium: nand}
        board: {model: bpi-r4, ram: 4GiB}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        bootloader:
          fip:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt target/linux/mediatek/image/filogic.mk, ARTIFACTS of bananapi_bpi-r4-common.
    """
    if plan.bootloader is not None and plan.boot.medium not in board.files.bl2:
        yield Finding(
            ("bootloader",),
            "the boot loader of an SD card is in the image of the card, and comes in no file of its own",
            "remove it; write the card again with make-sd",
            of_key=True,
            related=(("the boot medium is chosen here", ("boot", "medium")),),
        )


@rule("BP812", reads="board boot bootloader")
def file_is_the_right_one(plan: Plan, board: Board) -> Iterator[Finding]:
    """`bl2` is the BL2, and `fip` the FIP, of the plan's board and boot medium.

    On SPI-NAND they are `…-snand-preloader.bin` and `…-snand-bl31-uboot.fip`, on eMMC
    `…-emmc-preloader.bin` and `…-emmc-bl31-uboot.fip`. A BL2 for eMMC on SPI-NAND does not
    start, and nothing on the board notices before the next power-on. Guides tell of
    `*-bl2.img`, `*-fip.img` and `*-emmc.img`: OpenWrt makes no such files for this board.

    Wrong:
        board: {model: bpi-r4, ram: 4GiB}
        bootloader:
          bl2:
            file: openwrt-25.12.5-bpi-r4-bl2.img
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        board: {model: bpi-r4, ram: 4GiB}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        bootloader:
          bl2:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-preloader.bin
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt target/linux/mediatek/image/filogic.mk: the profiles and their artifacts.
    """
    for kind, name, here in _files(plan):
        part = {"bl2": board.files.bl2, "fip": board.files.fip}[kind].get(plan.boot.medium)
        if part is not None:
            yield from wrong_file(plan, board, name, here, part)


@rule("BP813", reads="firmware bootloader")
def bootloader_is_of_the_release(plan: Plan, board: Board) -> Iterator[Finding]:
    """The boot loader's files are of the plan's release.

    U-Boot and the image belong together: U-Boot hands over the device tree's overlays and the
    place of the root, and an old U-Boot with a new image has kept a board from starting. A
    name without a release, as snapshots and your own images have it, is taken for the plan's.

    Wrong:
        board: {model: bpi-r4, ram: 4GiB}
        bootloader:
          fip:
            file: openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        board: {model: bpi-r4, ram: 4GiB}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        bootloader:
          fip:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: openwrt issue 20873 (its root cause was not read).
    """
    for _, name, here in _files(plan):
        version = other_release(plan, board, name)
        if version is not None:
            yield Finding(
                here,
                f"this file is of OpenWrt {version}, the plan is for {plan.firmware.release}",
                "take the file of the plan's release, or change the release",
                related=(("the release is chosen here", ("firmware", "release")),),
            )


@rule("BP814", reads="board firmware bootloader")
def bl2_is_for_this_memory(plan: Plan, board: Board) -> Iterator[Finding]:
    """A BL2 is for 4 GiB or for 8 GiB, and the plan says how much the board has.

    BL2 is what sets the memory up. Owners of boards with 8 GiB have lost the right BL2 to an
    installer that wrote the one for 4 GiB. So a plan with `bootloader.bl2` has `board.ram`. The
    files for 8 GiB, `…-preloader-8g.bin`, are on snapshot only: on 24.10 and 25.12 such a board
    keeps the BL2 it has. A FIP is the same for both.

    Wrong:
        board: {model: bpi-r4, ram: 8GiB}
        bootloader:
          bl2:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-preloader.bin
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        board: {model: bpi-r4, ram: 8GiB}
        firmware: {release: snapshot}
        fallback:
          medium: sd
          image:
            file: openwrt-mediatek-filogic-bananapi_bpi-r4-sdcard_8g.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        bootloader:
          bl2:
            file: openwrt-mediatek-filogic-bananapi_bpi-r4-snand-preloader-8g.bin
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt commits 02b2dd35 and 794b4dee, PR 21437; Rahzadan/openwrt_bpi-r4_mtk_builder
    issue 3.
    """
    if plan.bootloader is None or plan.bootloader.bl2 is None:
        return
    here, memory, release = ("bootloader", "bl2", "file"), plan.board.ram, plan.firmware.release
    if memory is None:
        yield Finding(
            here,
            "there is a BL2 for 4GiB and one for 8GiB, and the plan does not say what the board has",
            "write `ram:` under `board:`; the router says it in the first line of /proc/meminfo",
        )
        return
    related = (("the memory is written here", ("board", "ram")),)
    has_large = memory == LARGE_MEMORY_BYTES
    if has_large and not board.releases[release].large_memory:
        message = f"OpenWrt {release} has no BL2 for 8GiB, only snapshot has"
        yield Finding(here, message, "remove it, and keep the BL2 that is on the board", related=related)
        return
    found = read_name(plan.bootloader.bl2.file, board)
    part = None if found is None else found.part
    for small, large in board.files.large_memory.items():
        if part == small and has_large:
            yield Finding(here, "this BL2 is for 4GiB, the plan says 8GiB", f"take …-{large}", related=related)
        elif part == large and not has_large:
            yield Finding(here, "this BL2 is for 8GiB, the plan says 4GiB", f"take …-{small}", related=related)


@rule("BP815", reads="boot bootloader")
def write_enabler_has_something_to_do(plan: Plan, board: Board) -> Iterator[Finding]:
    """`mtd_rw` is for a BL2 on SPI-NAND.

    OpenWrt's kernel has the partition `bl2` of SPI-NAND read-only, and kmod-mtd-rw makes all of
    them writable until the next start. The FIP is a UBI volume there and needs no such thing,
    and on eMMC the boot partition has a switch of its own.

    Wrong:
        bootloader: {mtd_rw: true}

    Right:
        board: {model: bpi-r4, ram: 4GiB}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        bootloader:
          bl2:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-preloader.bin
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
          mtd_rw: true

    Source: the partition `bl2` in mt7988a-bananapi-bpi-r4.dtsi (OpenWrt
    target/linux/mediatek/dts); openwrt/packages kernel/mtd-rw; frank-w/u-boot issue 17.
    """
    loader = plan.bootloader
    if loader is None or not loader.mtd_rw:
        return
    here = ("bootloader", "mtd_rw")
    if plan.boot.medium != "nand":
        title = board.media[plan.boot.medium].title
        yield Finding(here, f"{title} is no flash that kmod-mtd-rw could make writable", "remove it")
    elif loader.bl2 is None:
        yield Finding(here, "there is no `bl2` that would be written with kmod-mtd-rw", "remove it, or name the BL2")


@rule("BP816", Severity.WARNING, reads="bootloader")
def both_files_are_of_one_release(plan: Plan, board: Board) -> Iterator[Finding]:
    """BL2 and FIP come from the same release.

    Each release builds and tests both together. Whether two of neighbouring releases fit each
    other, nobody promises.

    Wrong:
        board: {model: bpi-r4, ram: 4GiB}
        bootloader:
          bl2:
            file: openwrt-25.12.4-mediatek-filogic-bananapi_bpi-r4-snand-preloader.bin
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
          fip:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        board: {model: bpi-r4, ram: 4GiB}
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        bootloader:
          bl2:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-preloader.bin
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
          fip:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt package/boot/arm-trusted-firmware-mediatek and uboot-mediatek are of one tree.
    """
    versions = {}
    for kind, name, _ in _files(plan):
        found = read_name(name, board)
        if found is not None and found.version is not None:
            versions[kind] = found.version
    if len(set(versions.values())) == 2:
        yield Finding(
            ("bootloader", "fip", "file"),
            f"the FIP is of OpenWrt {versions['fip']}, the BL2 of {versions['bl2']}",
            "take both from one release",
            related=(("the BL2 is named here", ("bootloader", "bl2", "file")),),
        )


@rule("BP817", Severity.WARNING, reads="fallback bootloader")
def repair_has_a_net(plan: Plan, board: Board) -> Iterator[Finding]:
    """A plan that writes a boot loader has a fallback.

    While a boot loader is written, and until the next start has shown that it works, nothing on
    that medium is sure to start the router. An SD card does, if it is ready before.

    Wrong:
        bootloader:
          fip:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        fallback:
          medium: sd
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
        bootloader:
          fip:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-snand-bl31-uboot.fip
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: frank-w/u-boot issue 16: "System halt!", and no other medium is tried.
    """
    if plan.bootloader is not None and plan.fallback is None:
        yield Finding(
            ("bootloader",),
            "if a new boot loader does not start, nothing of this plan does",
            "make an SD card first: add `fallback:`",
            of_key=True,
        )
