"""Rules about `root=` on the kernel's command line."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Severity, short
from bootplan.plan import Plan
from bootplan.rules.rule import Finding, rule

OURS = ("root", "rootwait", "rootfstype", "panic", "fstools_overlay_name")
OURS_BEGIN = "bootplan."
"""The arguments that the script or U-Boot's commands of a slot set themselves, and the beginning of others."""
STARTS = ("--", "init", "rdinit", "initrd", "ro", "rw", "rootflags", "rootdelay", "initcall_blacklist")
STOPS = {
    "failsafe": "starts OpenWrt's failsafe mode, without settings and without the overlay",
    "kgdbwait": "makes the kernel wait for a debugger, for ever",
    "mem": "gives the kernel another memory than the board has",
    "nosmp": "leaves the kernel one of four processors",
}
"""Arguments after which no usable system starts, and what each does."""
STARTS_BEGIN = ("sysctl.", "fstools_", "ubi.")
"""Names, and beginnings of names, of the arguments that change how the system starts."""
LONGEST_BYTES = 1024
OWN_BYTES = 160  # root=PARTUUID=..., rootfstype, rootwait, panic and fstools_overlay_name, with blanks
SLOT_BYTES = 200  # bootplan.slot and bootplan.trial, and U-Boot's commands in the variable that holds the line


def with_stock_kernel(plan: Plan) -> str:
    """What to write so that the stock kernel finds the plan's root, in the words of a hint: all that is to change."""
    wanted = {"root.method": "extroot-overlay"}
    if plan.slots is not None:
        wanted = {"boot.medium": "nand"} | wanted | {"slots.kernel": "own"}
    return _settings(plan, wanted)


def with_own_kernel(plan: Plan, board: Board) -> str:
    """The same for a kernel with NVMe built in, and a release that has what it needs."""
    releases = [name for name, one in board.releases.items() if one.overlay_switch]
    release = plan.firmware.release if plan.firmware.release in releases else releases[0]
    wanted = {"root.method": "cmdline", "firmware.kernel": "nvme-builtin", "firmware.release": release}
    return _settings(plan, wanted) + " if you built such a kernel" * (plan.firmware.kernel == "stock")


def _settings(plan: Plan, wanted: dict[str, str]) -> str:
    """Those of the *wanted* settings that the plan does not have."""
    has = {
        "boot.medium": plan.boot.medium,
        "firmware.kernel": plan.firmware.kernel,
        "firmware.release": plan.firmware.release,
        "root.method": plan.root.method,
        "slots.kernel": plan.slots.kernel if plan.slots else "own",
    }
    written = {key: f'"{one}"' if one[0].isdigit() else one for key, one in wanted.items() if has[key] != one}
    return " and ".join(f"`{key}: {one}`" for key, one in written.items())


@rule("BP301", reads="boot firmware root slots")
def kernel_can_read_the_disk(plan: Plan, board: Board) -> Iterator[Finding]:
    """`root=` on NVMe needs a kernel with NVMe built in.

    OpenWrt's own kernel has NVMe as a module, which lies on the very root it is needed for.
    With `rootwait` such a kernel waits for ever: no panic, no reboot, no fallback. Choose
    extroot-overlay, which works on the stock kernel, or build a kernel with
    CONFIG_BLK_DEV_NVME=y and say so. Two slots on eMMC or SD card need such a kernel: with the
    stock one they are for SPI-NAND.

    Wrong:
        firmware: {release: "25.12", kernel: stock}
        root: {method: cmdline, partition: root}

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root}

    Source: OpenWrt target/linux/mediatek/filogic/config-6.6, config-6.12 and config-6.18;
    openwrt PR 22049.
    """
    if plan.root.method == "cmdline" and plan.firmware.kernel == "stock":
        yield Finding(
            ("root", "method"),
            "the stock kernel has NVMe as a module, so it would wait for its root for ever",
            f"write `firmware.kernel: nvme-builtin` if you built such a kernel, or {with_stock_kernel(plan)}",
            related=(("the kernel is chosen here", ("firmware",)),),
        )


@rule("BP307", reads="boot firmware root slots")
def overlay_can_be_switched_off(plan: Plan, board: Board) -> Iterator[Finding]:
    """The method `cmdline` needs an OpenWrt that can be told to leave the internal overlay alone.

    Without `fstools_overlay_name` on the command line, mount_root puts the overlay of SPI-NAND,
    eMMC or SD card on top of the new root: everything written still lands on the boot medium.
    fstools knows it from 25.12.5 on.

    Wrong:
        firmware: {release: "24.10", kernel: nvme-builtin}
        root: {method: cmdline, partition: root}

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root}

    Source: fstools mount_root.c at e600d842 (2026-03-17); OpenWrt 24.10 has 408c2cc4
    (2024-07-14).
    """
    if plan.root.method == "cmdline" and not board.releases[plan.firmware.release].overlay_switch:
        able = [
            _settings(plan, {"firmware.release": name})
            + (f" (from {one.overlay_switch_since} on)" if one.overlay_switch_since else "")
            for name, one in board.releases.items()
            if one.overlay_switch
        ]
        yield Finding(
            ("root", "method"),
            f"on {plan.firmware.release} the internal overlay would cover a root given by `root=`",
            f"write {', or '.join([*able, with_stock_kernel(plan)])}",
            related=(("the release is chosen here", ("firmware", "release")),),
        )


@rule("BP308", reads="boot root slots")
def arguments_leave_the_rest_alone(plan: Plan, board: Board) -> Iterator[Finding]:
    """Extra kernel arguments do not override what the boot medium or the script sets.

    The script keeps the stock arguments of the boot medium (console, pci, ubi.block) and adds
    root, rootfstype, rootwait, panic and fstools_overlay_name itself. A second one would win
    over the first. For the seconds there are the keys `rootwait` and `panic`. By bootplan.slot
    and bootplan.trial a system learns which slot it is. Arguments that change how the system
    starts (init, ro, rootflags, sysctl and the like) could leave the router without a root, or
    without a way back. With kgdbwait, mem=, maxcpus=0 or failsafe= no usable system starts, and
    what is written in capitals (FAILSAFE=1) the kernel hands to OpenWrt's init. The whole line has
    at most 1024 bytes: arm64 takes 2048, the console of U-Boot less; with slots some commands are
    in the same variable.

    Wrong:
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root, arguments: [root=/dev/nvme0n1p1]}

    Right:
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root, arguments: [quiet]}

    Source: OpenWrt package/boot/uboot-mediatek/patches/450-add-bpi-r4.patch, variable bootargs;
    Linux arch/arm64/include/uapi/asm/setup.h, COMMAND_LINE_SIZE; init/main.c, unknown_bootoption;
    Documentation/admin-guide/kernel-parameters.txt. OpenWrt package/base-files/files/lib/preinit/
    30_failsafe_wait.
    """
    bootargs = board.media[plan.boot.medium].bootargs
    stock = [argument.partition("=")[0] for argument in bootargs.split()]
    for index, argument in enumerate(plan.root.arguments):
        written = argument.partition("=")[0]
        name = written.replace("-", "_")
        if name in OURS or name.startswith(OURS_BEGIN):
            hint = f"use the key `{name}:`" if name in ("rootwait", "panic") else "remove it"
            yield Finding(("root", "arguments", index), f"the script sets '{name}' itself", hint)
        elif name in stock:
            yield Finding(
                ("root", "arguments", index),
                f"'{name}' is set by the boot medium and must stay as it is",
                f"remove it; the stock arguments are: {bootargs}",
            )
        elif "failsafe=" in argument:  # OpenWrt looks for that anywhere on the line
            yield Finding(("root", "arguments", index), f"'{short(argument)}' {STOPS['failsafe']}", "remove it")
        elif name in STOPS or (name == "maxcpus" and not argument.partition("=")[2].strip("0")):
            what = STOPS["nosmp"] if name == "maxcpus" else STOPS[name]
            yield Finding(("root", "arguments", index), f"'{short(argument)}' {what}", "remove it")
        elif written.isupper() and "=" in argument:
            yield Finding(
                ("root", "arguments", index),
                f"'{written}' is no argument of the kernel: it goes into the environment of OpenWrt's init",
                "remove it",
            )
        elif written in STARTS or name in STARTS or name.startswith(STARTS_BEGIN):
            yield Finding(("root", "arguments", index), f"'{written}' changes how the system starts", "remove it")
    length = len(" ".join([bootargs, *plan.root.arguments])) + OWN_BYTES + SLOT_BYTES * (plan.slots is not None)
    if plan.root.arguments and length > LONGEST_BYTES:
        yield Finding(
            ("root", "arguments"),
            f"with these the kernel's command line has up to {length} bytes, and {LONGEST_BYTES} are safe",
            "write fewer",
            of_key=True,
        )


@rule("BP309", Severity.WARNING, reads="board firmware root slots")
def environment_can_be_written(plan: Plan, board: Board) -> Iterator[Finding]:
    """On this model and release, OpenWrt does not tell fw_setenv where the environment is.

    The script that writes /etc/fw_env.config has no case for `bananapi,bpi-r4-2g5`, the name of
    the bpi-r4-poe since 25.12. The compiled script therefore brings a configuration of its own;
    the method `cmdline` and slots need it.
    That follows from OpenWrt's source code and was never tried on the board: look at the output
    of the script's check before you apply it.

    Wrong:
        board: {model: bpi-r4-poe}
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root}

    Right:
        board: {model: bpi-r4-poe}
        firmware: {release: "25.12", kernel: stock}
        root: {method: extroot-overlay, partition: root}

    Source: OpenWrt package/boot/uboot-tools/uboot-envtools/files/mediatek_filogic at
    58aa1b7f16ef.
    """
    missing_on = board.releases[plan.firmware.release].env_config_missing_on
    if plan.board.model in missing_on and (plan.root.method == "cmdline" or plan.slots is not None):
        yield Finding(
            ("root", "method") if plan.slots is None else ("slots",),
            f"OpenWrt {plan.firmware.release} makes no fw_env.config on {plan.board.model}",
            "the script brings its own; never tried on hardware, so run its check first",
            of_key=plan.slots is not None,
        )
