"""Rules about the recovery system and the computer it comes from."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from bootplan.board import Board
from bootplan.diagnostics import Severity
from bootplan.plan import Plan
from bootplan.rules.names import other_release, wrong_file
from bootplan.rules.rule import Finding, rule

_FILE = ("recovery", "image", "file")


@rule("BP821", reads="board recovery")
def recovery_is_for_this_board(plan: Plan, board: Board) -> Iterator[Finding]:
    """The recovery image is OpenWrt's initramfs of the plan's board.

    U-Boot starts `…-initramfs-recovery.itb` when the system does not start, or after a crash,
    and asks for it by TFTP. It is a whole system in memory. The image for sysupgrade is another
    one: it has its root beside the kernel, where a start from the network does not find it.

    Wrong:
        recovery:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        recovery:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: KERNEL_INITRAMFS_SUFFIX in OpenWrt target/linux/mediatek/image/filogic.mk; bootfile
    in 450-add-bpi-r4.patch.
    """
    if plan.recovery is not None and plan.recovery.image is not None:
        yield from wrong_file(plan, board, plan.recovery.image.file, _FILE, board.files.recovery)


@rule("BP822", Severity.WARNING, reads="firmware recovery")
def recovery_is_of_the_same_release(plan: Plan, board: Board) -> Iterator[Finding]:
    """The recovery image is best of the release that the router runs.

    From another release it starts as well, and it can install any image. But its modules and
    the names of its ports are those of its own release, and settings restored there may not fit.

    Wrong:
        recovery:
          image:
            file: openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        recovery:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: DEVICE_COMPAT_VERSION 1.1 since 25.12 in OpenWrt
    target/linux/mediatek/image/filogic.mk.
    """
    image = None if plan.recovery is None else plan.recovery.image
    version = None if image is None else other_release(plan, board, image.file)
    if version is not None:
        yield Finding(
            _FILE,
            f"the recovery image is of OpenWrt {version}, the router runs {plan.firmware.release}",
            "take the one of the plan's release",
            related=(("the release is chosen here", ("firmware", "release")),),
        )


@rule("BP823", reads="recovery")
def server_is_another_computer(plan: Plan, board: Board) -> Iterator[Finding]:
    """The TFTP server has an address that a computer beside the router can have.

    U-Boot itself has 192.168.1.1 and asks 192.168.1.254, unless its environment says otherwise.
    It knows no gateway: the computer hangs on the same cable, in the same network.

    Wrong:
        recovery: {server: 192.168.1.1}

    Right:
        recovery: {server: 192.168.1.254}

    Source: ipaddr and serverip in OpenWrt
    package/boot/uboot-mediatek/patches/450-add-bpi-r4.patch.
    """
    if plan.recovery is None:
        return
    own, server = IPv4Address(board.uboot.address), IPv4Address(plan.recovery.server)
    network = IPv4Network((own, 24), strict=False)
    here, hint = ("recovery", "server"), "give your computer an address like 192.168.1.254, and write it here"
    if server == own:
        yield Finding(here, f"{server} is the router's own address in U-Boot", hint)
    elif server not in network or server in (network.network_address, network.broadcast_address):
        yield Finding(here, f"no computer in U-Boot's network, {network}, has the address {server}", hint)
