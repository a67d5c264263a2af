"""What can break on a router with a plan, what is seen of it, and the exact lines that help.

The lines for U-Boot use the variables that stock U-Boot 24.10 and 25.12 come with (450-add-bpi-r4.patch of
package/boot/uboot-mediatek): no line rests on one that only we know, but those of the slots. What a line writes is as
little as possible: stock `ubi_write_fip` removes rootfs_data, stock `emmc_write_fip` the environment; ours do not. And
what reads stands in one line with what writes it: after a line that failed, people type the next one all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bootplan.board import Board
from bootplan.chain import digits
from bootplan.images import LARGE_MEMORY_BYTES, end_of_name, for_memory, is_placeholder
from bootplan.plan import (
    DEFAULT_PANIC_SECONDS,
    DEFAULT_ROOTWAIT_SECONDS,
    DEFAULT_TFTP_SERVER,
    Plan,
)
from bootplan.slots import kernel_place

SCRIPT = "r4.sh"
# On a system that was started from the fallback card: the script, from the rescue kit's partition.
SCRIPT_FROM_CARD = (
    "mount -t ext4 -o ro /dev/$(grep -lx PARTNAME=bootplan /sys/class/block/mmcblk0p*/uevent | cut -d / -f 5) /mnt",
    f"cp /mnt/{SCRIPT} /tmp; umount /mnt; cd /tmp",
)
Where = Literal["u-boot", "linux", "pc", "hand"]
_FIP_BYTES = "0x200000"
# Where Linux reads no good environment, fw_setenv would save the tool's own, which has another bootcmd.
FORGET_FLAG = "fw_printenv bootcmd | grep 'pstore check' && fw_setenv flag_recover"
_START_FROM_SERVER = {
    "nand": "run boot_tftp",
    "emmc": "tftpboot $loadaddr $bootfile && bootm $loadaddr#$bootconf#$bootconf_emmc",  # boot_tftp leaves out the eMMC
    "sd": "run boot_tftp",
}


@dataclass(frozen=True)
class Line:
    """One thing to do. *where* u-boot, linux and pc: type *text* there, exactly; hand: do what it says.

    For u-boot, *medium* says whose U-Boot it is.
    """

    where: Where
    text: str
    medium: str = ""


@dataclass(frozen=True)
class Failure:
    """A failure: its *name*, what is *seen*, mostly on the serial console, and the *steps* in order."""

    name: str
    seen: str
    steps: tuple[Line, ...]


def failures(plan: Plan, board: Board) -> tuple[Failure, ...]:
    """All failures that can hit a router with *plan*, from the disk down to the boot ROM."""
    return tuple(_Failures(plan, board).all())


def _hand(text: str) -> Line:
    return Line("hand", text)


def _linux(*texts: str) -> list[Line]:
    return [Line("linux", text) for text in texts]


class _Failures:
    """The failures of one plan."""

    def __init__(self, plan: Plan, board: Board) -> None:
        self._plan, self._board = plan, board
        self._name = plan.boot.medium
        self._medium = board.media[self._name]
        self._release = board.releases[plan.firmware.release]
        self._server = plan.recovery.server if plan.recovery else DEFAULT_TFTP_SERVER

    def all(self) -> Iterator[Failure]:
        yield self.disk_gone()
        if self._plan.slots is not None:
            yield self.bad_slot()
        yield self.bad_env()
        yield self.recovery_loop()
        yield self.no_system()
        yield self.bad_fip()
        yield self.bad_bl2()
        yield self.wrong_bl2()

    def uboot(self, *texts: str, medium: str = "") -> list[Line]:
        """Lines for the plan's own U-Boot, or that of another *medium*."""
        return [Line("u-boot", text, medium or self._name) for text in texts]

    def start_from(self, name: str, more: str = "") -> Line:
        """How to come to the prompt of another medium's U-Boot."""
        medium = self._board.media[name]
        return _hand(
            f"Power off. {more}SW3 to {digits(medium.switch)}. Power on. Menu title {medium.menu_title}; Ctrl-C."
        )

    def back(self, more: str = "") -> Line:
        """How to come back to the plan's medium."""
        return _hand(f"Power off. {more}SW3 to {digits(self._medium.switch)}. Power on: {self._medium.menu_title}.")

    @property
    def run_good(self) -> str:
        """The U-Boot line that starts the plan's own system, whatever stands in the way of the usual start."""
        return "run bp_use_$bp_good" if self._plan.slots is not None else "run boot_production"

    def disk_gone(self) -> Failure:
        plan, steps = self._plan, [_hand("Power off, seat the disk, power on.")]
        title = self._medium.title
        if plan.root.method == "internal":
            seen = "The router works, but what the disk holds is not mounted."
        elif plan.root.method != "cmdline" and plan.slots is None:
            seen = f"It comes up as before the install, from {title} alone: old settings, old password."
            seen += " dmesg may say 'extroot: cannot find device'."
        elif plan.root.method != "cmdline":
            seen = f"The slot comes up with the settings on {title} alone; one on trial is given up."
        else:
            wait = DEFAULT_ROOTWAIT_SECONDS if plan.root.rootwait is None else plan.root.rootwait
            panic = DEFAULT_PANIC_SECONDS if plan.root.panic is None else plan.root.panic
            seen = (
                f"'Waiting for root device PARTUUID=...'; after {wait} s 'Kernel panic - not syncing'; after {panic} s"
            )
            seen += " a restart, in the end into the recovery system."
            steps.append(_hand(f"No disk at hand: the system on {title}, once; nothing is saved."))
            steps += self.uboot(f"setenv bootargs '{self._medium.bootargs}'", "run boot_production")
            steps += _linux("rm -f /sys/fs/pstore/*")
        steps += _linux("dmesg | grep -e nvme -e pcie", f"sh {SCRIPT} status")
        steps.append(_hand("A new disk: its serial into the plan, compile, copy the script here, then:"))
        steps += _linux(f"sh {SCRIPT} install --apply")
        return Failure("NVMe gone", seen, tuple(steps))

    def bad_slot(self) -> Failure:
        slots = self._plan.slots
        assert slots is not None
        seen = (
            f"The slot on trial panics, hangs or restarts. After {slots.tries} starts the good one is back by itself."
        )
        steps = [
            *_linux(f"sh {SCRIPT} status", f"sh {SCRIPT} rollback --apply"),
            _hand("Nothing comes up: end the trial and start the good slot."),
            *self.uboot("printenv bp_good bp_why", "setenv bp_try", "saveenv", "run bp_use_$bp_good"),
            _hand(
                f"That one is broken, too: the other one becomes the good one (a: {slots.a.root}, b: {slots.b.root})."
            ),
            *self.uboot(
                "setenv bp_try",
                "if test $bp_good = a ; then setenv bp_good b ; else setenv bp_good a ; fi",
                "saveenv",
                "run bp_use_$bp_good",
            ),
        ]
        image = self._plan.upgrade.image if self._plan.upgrade else None
        if image is not None:
            steps.append(_hand("When the good slot runs, the bad one anew, from the file of the plan in /tmp:"))
            steps += _linux(f"sh {SCRIPT} upgrade /tmp/{image.file} --apply")
        return Failure("Bad slot", seen, tuple(steps))

    def bad_env(self) -> Failure:
        lost = "the slots, the addresses" if self._plan.slots is not None else "the addresses"
        seen = f"'*** Warning - bad CRC, using default environment': it starts the stock way, {lost} are forgotten."
        seen += " Or U-Boot is fine and the kernel waits for a root or panics: a wrong bootargs or bootcmd."
        steps = [
            _hand("Write down the addresses, then set back what starts the router:"),
            *self.uboot("printenv ethaddr eth1addr", "env default bootcmd bootargs", "saveenv", "reset"),
            _hand("Not enough: everything as delivered; this loses the addresses."),
            *self.uboot("run reset_factory", "reset"),
            _hand("When it has started once: power off and on, stop the menu, and put the addresses back:"),
            *self.uboot("setenv ethaddr ADDRESS", "setenv eth1addr ADDRESS", "saveenv", "reset"),
            _hand(
                "No cable: WPS held at power-on does so, and starts the recovery system (never shown on the hardware)."
            ),
            _hand("The system is up: copies of the environment are in /etc/bootplan and in your backups."),
            *_linux("ls /etc/bootplan/env-*.txt", f"sh {SCRIPT} restore-env /etc/bootplan/env-DATE.txt --apply"),
        ]
        if self._plan.slots is not None:
            steps.append(_hand("No copy, or one from before the slots (it has no bp_good):"))
        elif self._plan.root.method == "cmdline":
            steps.append(_hand("No copy:"))
        if self._plan.slots is not None or self._plan.root.method == "cmdline":
            steps += _linux(f"sh {SCRIPT} install --apply")
        return Failure("Bad environment", seen, tuple(steps))

    def recovery_loop(self) -> Failure:
        seen = (
            "A system without your settings at each start, the blue LED is on. They are not lost: a crash record in RAM"
        )
        seen += " (pstore), or flag_recover, sends U-Boot to the recovery system."
        mounted = [] if self._name == "sd" or self._no_env_tool() else [FORGET_FLAG]
        steps = [
            _hand("In the recovery system: read the record, then delete it."),
            *_linux("cat /sys/fs/pstore/*", "rm -f /sys/fs/pstore/*", *mounted, "reboot"),
            _hand("Or past it, in U-Boot; delete the record when the system is up."),
            *self.uboot("setenv flag_recover", "saveenv", self.run_good),
            *_linux("rm -f /sys/fs/pstore/*"),
        ]
        return Failure("Recovery loop", seen, tuple(steps))

    def _no_env_tool(self) -> bool:
        return self._plan.board.model in self._release.env_config_missing_on

    def no_system(self) -> Failure:
        plan = self._plan
        seen = f"U-Boot repeats 'TFTP from server {self._server}': neither kernel nor recovery system is whole."
        image = plan.recovery.image if plan.recovery else None
        loop = "over the recovery system" + (", and deletes the settings first" if self._name == "nand" else "")
        steps = [
            _hand(f"Before any server answers, Ctrl-C until the prompt stays: the loop writes what it gets {loop}."),
            *self.uboot("setenv replacevol", f"setenv serverip {self._server}"),
        ]
        if image is not None:
            steps += self.uboot(f"setenv bootfile {image.file}")
        else:
            steps += self.uboot("printenv bootfile")
            steps.append(_hand("The server must have a file of that name: the release's initramfs-recovery.itb."))
        steps.append(_hand(f"Now a PC with {self._server}/24 at a LAN port of the router, and a TFTP server on it:"))
        if image is not None:
            steps.append(Line("pc", f"sha256sum {image.file}"))
        steps.append(Line("pc", 'sudo dnsmasq -d -p 0 --enable-tftp --tftp-root="$PWD"'))
        steps += self.uboot(_START_FROM_SERVER[self._name])
        steps += self._production_anew()
        return Failure("No system starts", seen, tuple(steps))

    def _production_anew(self) -> list[Line]:
        """In the recovery system: how the system on the boot medium comes back, and what that costs."""
        plan, title = self._plan, self._medium.title
        named = plan.files().get(("upgrade", "image"))
        image = f"/tmp/{named.file if named else f'*{end_of_name(plan, self._board, self._board.files.system)}'}"
        steps = []
        lost = f"the settings on {title}, /etc/bootplan too, with -n or without: save them first"
        if plan.slots is not None:
            steps.append(_hand("Two slots: first the other one, with the lines of 'Bad slot'. Only if neither starts:"))
            lost = {
                "pair": "the slot that U-Boot tried last, kernel and settings; the other one stays",
                "shared": f"the kernel of both slots, so it must be of their release, and {lost}",
            }.get(kernel_place(plan, plan.slots), f"the stock system, which starts where no slot does, and {lost}")
            lost = f"what it replaces: {lost}"
        steps.append(
            _hand(f"In the recovery system, the image in /tmp ({self._board.uboot.address}). sysupgrade loses {lost}.")
        )
        if self._name == "nand":
            steps += _linux("ubinfo -a")
            steps.append(_hand("Only when that lists the volume fip: sysupgrade formats a UBI it cannot attach."))
        steps += _linux(f"sysupgrade -T {image}", f"sysupgrade -n {image}")
        steps.append(_hand(f"When it is up, the script to it: sh {SCRIPT} status tells what comes next."))
        return steps

    def bad_fip(self) -> Failure:
        seen = "'NOTICE:  BL2: ...', then an error like 'Firmware Image Package header check failed' or 'BL2: Failed to"
        seen += " load image id'. No U-Boot, no menu."
        match self._name:
            case "nand":
                steps = [
                    self.start_from("sd", "Card in. "),
                    *self.uboot(
                        "ubi part ubi",
                        f"ubi check fip || ubi create fip {_FIP_BYTES} static",
                        f"run sdmmc_read_snand_fip && ubi write $loadaddr fip {_FIP_BYTES}",
                        medium="sd",
                    ),
                    self.back("Card out. "),
                    *self._reflash_from_card(),
                ]
            case "emmc":
                steps = [
                    *self._to_nand(),
                    *self.uboot(
                        "run ubi_read_emmc_install && setexpr fileaddr $loadaddr + 0x100000 && mmc dev 0 && "
                        "mmc erase 0x3400 0x2000 && mmc write $fileaddr 0x3400 0x2000",
                        medium="nand",
                    ),
                    self.back(),
                ]
            case _:
                steps = self._new_card()
        return Failure("Bad FIP", seen, tuple(steps))

    def _reflash_from_card(self) -> list[Line]:
        if self._plan.bootloader is None or self._plan.bootloader.fip is None:
            return []
        about = "Or the plan's own file instead of the card's: start the system on the card; file and script to /tmp."
        return [_hand(about), *_linux(f"sh {SCRIPT} reflash fip /tmp --apply")]

    def bad_bl2(self) -> Failure:
        seen = "Only lines of the boot ROM like 'F0: 102B 0000', the last one 'System halt!'. No 'NOTICE:  BL2'."
        steps = self._write_bl2()
        if self._name == "nand":
            steps += [
                _hand(
                    "UBI is gone, too: in the card's U-Boot, all of the SPI-NAND anew. "
                    "Settings, slots, addresses are lost."
                ),
                *self.uboot("run ubi_init", medium="sd"),
            ]
        return Failure("Bad BL2", seen, tuple(steps))

    def _only_with_its_card(self) -> list[Line]:
        """For which memory the card must be: it has the BL2 that is written, and the one for the eMMC."""
        if self._plan.board.ram not in (None, LARGE_MEMORY_BYTES):
            return []
        large = self._board.files.large_memory[self._board.files.card]
        which = "A board with 8 GiB: only" if self._plan.board.ram is None else "Only"
        about = " The SPI-NAND must have been filled from one, too." if self._name == "emmc" else ""
        return [_hand(f"{which} with a card made for 8 GiB ({large}).{about}")]

    def _write_bl2(self) -> list[Line]:
        match self._name:
            case "nand":
                return [
                    *self._only_with_its_card(),
                    self.start_from("sd", "Card in. "),
                    *self.uboot("run sdmmc_read_snand_bl2 && run snand_write_bl2", medium="sd"),
                    self.back("Card out. "),
                ]
            case "emmc":
                return [
                    *self._only_with_its_card(),
                    _hand("Come to the U-Boot of the SPI-NAND as for 'Bad FIP'."),
                    *self.uboot(
                        "run ubi_read_emmc_install && setenv fileaddr $loadaddr && mmc dev 0 && mmc bootbus 0 0 0 0 && "
                        "run emmc_write_bl2",
                        "mmc partconf 0",
                        medium="nand",
                    ),
                    _hand("The last line must say BOOT_PARTITION_ENABLE: 0x1."),
                    self.back(),
                ]
            case _:
                return self._new_card()

    def _to_nand(self) -> list[Line]:
        return [
            _hand("From the card the eMMC is invisible (one controller for both): it is repaired from the SPI-NAND."),
            self.start_from("nand"),
            _hand("No U-Boot there: fill the SPI-NAND from the card first; what it holds is lost."),
            *self._only_with_its_card(),
            self.start_from("sd", "Card in. "),
            *self.uboot("run ubi_init", medium="sd"),
            self.start_from("nand", "Card out. "),
        ]

    def _new_card(self) -> list[Line]:
        steps = [_hand("Write a card anew, on a PC with a card reader; DEVICE is the reader's, as lsblk shows it.")]
        if self._plan.fallback is not None:
            make = f"sudo sh {SCRIPT} make-sd /dev/DEVICE"
            return [*steps, Line("pc", make), Line("pc", f"{make} --apply")]
        image = for_memory(self._plan, self._board, self._board.files.card)
        return [*steps, Line("pc", f"gzip -dc IMAGE-{image} | sudo dd of=/dev/DEVICE bs=1M conv=fsync")]

    def wrong_bl2(self) -> Failure:
        large, build = LARGE_MEMORY_BYTES, self._medium.stages.bl2_build
        ram = self._plan.board.ram
        marks = (
            f"'({build})' at the end of BL2's first line is for 4 GiB, '({build}-4bg)' for 8 GiB (never shown on the"
        )
        marks += " hardware)."
        if ram is None or ram == large:
            seen = f"A board with 8 GiB shows 'DRAM:  4 GiB' in U-Boot, or does not start. {marks}"
        else:
            seen = f"This board has 4 GiB; how it fails with the BL2 for 8 GiB nobody has told. {marks}"
        steps = _linux("grep MemTotal /proc/meminfo")
        if ram == large and not self._release.large_memory:
            names = ", ".join(self._board.files.large_memory.values())
            steps.append(_hand(f"OpenWrt {self._plan.firmware.release} has no BL2 for 8 GiB; a snapshot has: {names}."))
            if self._name == "sd":
                steps += self._new_card()
            else:
                steps.append(_hand("Make a card from that image; with it the lines of 'Bad BL2'."))
        elif self._name == "sd":
            steps += self._new_card()
        else:
            steps += self._replace_bl2()
            steps.append(_hand("U-Boot does not start: the lines of 'Bad BL2', with a card made for this memory."))
        return Failure("Wrong BL2 (4 GiB or 8 GiB)", seen, tuple(steps))

    def _replace_bl2(self) -> list[Line]:
        """The plan's BL2 in the place of one that starts; the line that writes looks at the sum first."""
        bl2 = self._plan.bootloader.bl2 if self._plan.bootloader else None
        if bl2 is None:
            return []
        if is_placeholder(bl2.sha256):
            return [
                _hand(
                    f"The plan's checksum of this BL2 is a placeholder, so no line here writes it. Let 'bootplan pin' "
                    f"write that of {bl2.file} into the plan, and make this page again."
                )
            ]
        part, write = {"nand": ("bl2", "run snand_write_bl2"), "emmc": ("emmc", "run emmc_write_bl2")}[self._name]
        return [
            _hand("The router starts: file and script to /tmp; this writes it, or says how:"),
            *_linux(f"sh {SCRIPT} reflash {part} /tmp --apply"),
            _hand(f"U-Boot starts: the file on a TFTP server as for 'No system starts', on {self._server}."),
            *self.uboot(
                f"setenv serverip {self._server}",
                f"tftpboot $loadaddr {bl2.file} && hash sha256 $loadaddr $filesize sum && "
                f'test "$sum" = {bl2.sha256} && {write}',
            ),
        ]
