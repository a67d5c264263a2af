"""The actions on slots that are cut. U-Boot's own writes at power-on are cut in tier 1: here a start is atomic."""

import functools
import hashlib
import os
import stat
import subprocess
from collections.abc import Callable
from typing import Any

from .. import firmware, parts
from ..fitread import read
from ..images import GiB
from ..loops import Loop
from ..router import Disk, Router
from ..scripts import SERIAL, Bench
from .action import ENV_BYTES, OWN_FILES, Action, Target
from .box import KERNEL, NOT_SYSTEM, Tree, differences, kernel_entry, tree_at

OLDER, NEW = "25.12.6", "25.12.7"
IMAGE = "/tmp/new.itb"
UPGRADE = f"upgrade {IMAGE} --sha256 $(cat {IMAGE}.sum) --apply"
MIB = 1 << 20
DATA_BYTES = 24 * MIB  # rootfs_data as a sysupgrade leaves it where there is to be room for a second slot
# What the script puts into a system that is a slot.
SERVICES_OFF = "/etc/uci-defaults/10_disable_services"  # sysupgrade adds it to what it keeps; the first start runs it
SLOT_FILES = (
    *OWN_FILES,
    "/etc/sysupgrade.conf*",
    "/etc/init.d",
    "/etc/init.d/bootplan*",
    "/etc/rc.d",
    "/etc/rc.d/S??bootplan*",
    SERVICES_OFF,
)
STATE = ("bp_good", "bp_try", "bp_left", "bp_fell", "bp_why")
ON_TRIAL = r"slot b is on trial; first: "
RESTART_FIRST = r"the kernel does not know them yet; restart the router first"
NO_SLOTS = r"no slots are installed here"

# What the slots of a case have: where the roots are, and which of the images hold a kernel's volume.
WAYS = {
    "pairs": {name: ("overlay", ("nvme0", number), name) for number, name in enumerate("ab", 1)},
    "own": {name: ("root", ("nvme0", number), name) for number, name in enumerate("ab", 1)},
}
STOCK = ("overlay", ("overlay", 0), "stock")
PAIR_AS_STOCK = ("overlay", ("nvme0", 1), "stock")  # slot a's volumes have the plain names, and its fstab its overlay
VOLUMES = {"pairs": ("ubi", "ubi6"), "own": ("ubi", "ubi6", "ubi7")}


def plan(case: str, medium: str = "nand") -> str:
    """Return the text of a plan with slots."""
    kernel, method = ("stock", "extroot-overlay") if case == "pairs" else ("nvme-builtin", "cmdline")
    return (
        "version: 1\nname: bench\nboard: {model: bpi-r4}\n"
        f'firmware: {{release: "25.12", kernel: {kernel}}}\nboot: {{medium: {medium}}}\n'
        f"media:\n  ssd:\n    type: nvme\n    serial: {SERIAL}\n    partitions:\n"
        "      - {name: root-a, size: 256MiB, filesystem: ext4}\n"
        "      - {name: root-b, size: 256MiB, filesystem: ext4}\n"
        "      - {name: data, size: rest, filesystem: ext4, mount: /srv}\n"
        f"root: {{method: {method}}}\nslots: {{a: {{root: root-a}}, b: {{root: root-b}}}}\n"
    )


PAIRS = plan("pairs")


def kind_of(case: str, medium: str) -> dict[str, Any]:
    """Return what the router is made with."""
    builtin = {"kernel_nvme": "builtin", "packages": ("block-mount", "sfdisk")} if case == "own" else {}
    return {"medium": medium, "disks": (Disk(size=GiB),), "slots": True, "data_bytes": DATA_BYTES, **builtin}


def with_an_image(release: str) -> Callable[[Router], None]:
    """Return a function that puts a release's image into RAM."""

    def bring(box: Router) -> None:
        """Put the image and its sum there."""
        data = image_of(box, release)
        box.run(f"cat >{IMAGE}", input=data).ok()
        box.put(f"{IMAGE}.sum", hashlib.sha256(data).hexdigest())

    return bring


@functools.cache
def image_for(release: str, packages: tuple[str, ...], kernel_nvme: str) -> bytes:
    """Return the bytes of a release's image, with the packages of the router."""
    return firmware.make(parts.build(), release=release, packages=packages, kernel_nvme=kernel_nvme).read_bytes()


def image_of(box: Router, release: str) -> bytes:
    """Return the bytes of a release's image for a router."""
    return image_for(release, box.packages, box.kernel_nvme)


def system_of(box: Router, release: str) -> Tree:
    """Return the tree of the squashfs in a release's image, and the entry of its kernel."""
    fit = read(image_of(box, release))
    file, folder = box.folder / "system.squashfs", box.folder / "look"
    file.write_bytes(fit.rootfs() or b"")
    folder.mkdir(exist_ok=True)
    loop = Loop(file, read_only=True)
    try:
        subprocess.run(["mount", "-t", "squashfs", "-o", "ro", loop.path, folder], check=True)
        try:
            return {**tree_at(str(folder), {f"/{name}" for name in NOT_SYSTEM}), KERNEL: kernel_entry(fit)}
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        loop.detach()
        file.unlink()


def is_the_image(release: str) -> Callable[[Router, Tree, Tree], list[str]]:
    """Return a proof: the new system is the image's, with the settings of the old one and no other file of it."""

    def proof(box: Router, before: Tree, after: Tree) -> list[str]:
        """Compare with what the image and the list of the settings say."""
        box.run("sysupgrade -b /tmp/kept.tar.gz").ok()
        names = {f"/{name.strip('/')}" for name in box.run("tar -tzf /tmp/kept.tar.gz").ok().out.splitlines()}
        want = system_of(box, release)
        for name in names & before.keys():
            if before[name].kind != stat.S_IFDIR:
                want[name] = before[name]
        for name in names & before.keys():
            while (name := os.path.dirname(name)) not in want and name != "/":
                want[name] = before[name]
        wrong = differences(want, after, (*SLOT_FILES, "/.bootplan/", "/lost+found/", "/srv"))
        return [f"not the image and the settings: {'; '.join(wrong)}"] if wrong else []

    return proof


def is_a_copy(_: Router, before: Tree, after: Tree) -> list[str]:
    """A proof: the new system is the old one."""
    wrong = differences(before, after, (*SLOT_FILES, "/.bootplan/", "/lost+found/", "/srv"))
    return [f"not whole: {'; '.join(wrong)}"] if wrong else []


# ---- where an action starts


def install(box: Router, text: str) -> None:
    """Install the slots and start the first; on a card that takes a restart on the way."""
    for _ in range(1 if box.medium == "nand" else 2):
        Bench(box, text).sh("install --apply").ok()
        box.reboot()


def without_kernels(text: str, command: str) -> Callable[[Router], None]:
    """The stock system runs, slot a's root is finished, and this command has taken the slots' kernels away."""

    def prepare(box: Router) -> None:
        """Install, leave the slots, start the stock system, take the kernels away."""
        install(box, text)
        Bench(box, text).sh("rollback --stock --apply").ok()
        box.reboot()
        box.run(command).ok()

    return prepare


def upgrade(box: Router, text: str, release: str) -> None:
    """Write a release into the idle slot, on trial."""
    with_an_image(release)(box)
    Bench(box, text).sh(UPGRADE).ok()


def installed(text: str) -> Callable[[Router], None]:
    """Slot a runs, and slot b is empty."""
    return lambda box: install(box, text)


def small_volume(text: str) -> Callable[[Router], None]:
    """Slot a runs, slot b is empty, and its kernel's volume is smaller than any kernel."""

    def prepare(box: Router) -> None:
        """Install, and make the volume again: a plan cannot say such a size, an image can outgrow one."""
        install(box, text)
        box.run("ubirmvol /dev/ubi0 -N fit_b && ubimkvol /dev/ubi0 -N fit_b -s 512KiB").ok()

    return prepare


def older_in_b(text: str) -> Callable[[Router], None]:
    """Slot a runs, slot b holds a whole system, and is not on trial."""

    def prepare(box: Router) -> None:
        """Install, upgrade, take the trial back."""
        install(box, text)
        upgrade(box, text, OLDER)
        Bench(box, text).sh("rollback --apply").ok()

    return prepare


def begin_trial(text: str) -> Callable[[Router], object]:
    """The session begins with slot b on trial from the next start on."""
    return lambda box: Bench(box, text).sh("switch --apply").ok()


def b_on_trial(text: str) -> Callable[[Router], None]:
    """The next power-on starts slot b on trial."""

    def prepare(box: Router) -> None:
        """Install and upgrade."""
        install(box, text)
        upgrade(box, text, OLDER)

    return prepare


def trial_used_up(text: str) -> Callable[[Router], None]:
    """The trial of slot b may not be started any more, so slot a runs, and the failed trial is still to be closed."""

    def prepare(box: Router) -> None:
        """Install, upgrade, and leave no try."""
        b_on_trial(text)(box)
        box.run("fw_setenv bp_left 0").ok()

    return prepare


# ---- the actions


def env_of(medium: str) -> dict[str, Target]:
    """Return the images, or their parts, that hold the environment."""
    return {"ubootenv": None, "ubootenv2": None} if medium == "nand" else {"mmcblk0": ENV_BYTES}


def action(case: str, medium: str, name: str, title: str, **more: Any) -> Action:
    """Return an action; what is not said is as for a decision made in slot a."""
    ways = WAYS[case]
    flash = dict.fromkeys(VOLUMES[case]) if case == "pairs" else {}
    disk = {"nvme0": (MIB, GiB - MIB)}  # its table stays as it is
    data = {"ubi7": None} if case == "pairs" else {}
    return Action(
        **{
            "name": f"{name}_{case}_{medium}",
            "title": f"{title}, {WORDS[case]}, {medium}",
            "plan": plan(case, medium),
            "kind": kind_of(case, medium),
            "old": (ways["a"],),
            "new": ways["b"],
            "planned": ways["b"],
            "mounts": {"/srv": ("nvme0", 3)},
            "files": SLOT_FILES,
            "variables": STATE,
            "targets": {"overlay": None, **flash, **data, **disk, **env_of(medium)},
            "volumes": VOLUMES[case] if medium == "nand" else (),
            "untouched": (("nvme0", 1),),
            "refusals": (ON_TRIAL,),
            **more,
        }
    )


WORDS = {"pairs": "pairs", "own": "own kernels"}


def install_slots(case: str, medium: str, **more: Any) -> Action:
    """Return the install of slots on a blank disk."""
    ways = WAYS[case]
    old = (STOCK, PAIR_AS_STOCK) if case == "pairs" else (STOCK,)
    volumes = dict.fromkeys(("ubi", "ubi6", "ubi7")) if medium == "nand" else {}
    # The card: both copies of its table, the environment, and what lies behind the stock partitions.
    card: dict[str, Target] = {} if medium == "nand" else {"mmcblk0": ((0, 5 * 4096), ENV_BYTES, (512 * MIB, GiB))}
    made = action(
        case,
        medium,
        "install_slots",
        "install of slots",
        words="install --apply",
        old=old,
        new=ways["a"],
        planned=ways["a"],
        untouched=(),
        refusals=(),
        kills=False,
        proof=is_a_copy,
        variables=("bp_*", "bootcmd"),
        targets={"nvme0": None, "overlay": None, **volumes, **env_of(medium), **card},
    )
    return Action(**{**vars(made), **more})


def upgrade_slot(case: str, medium: str, **more: Any) -> Action:
    """Return the upgrade of slot b from slot a."""
    written: dict[str, Target] = {} if medium == "nand" else {"mmcblk0": (ENV_BYTES, (512 * MIB, GiB - MIB))}
    if case == "own" and medium == "nand":
        written = {"ubi": None, "ubi7": None}
    made = action(
        case,
        medium,
        "upgrade",
        "upgrade of the idle slot",
        words=UPGRADE,
        brings=with_an_image(NEW),
        prepare=older_in_b(plan(case, medium)),
        proof=is_the_image(NEW),
        asks=True,
        kills=case == "pairs",
    )
    return Action(**{**vars(made), "targets": {**made.targets, **written}, **more})


DECISIONS = (
    action("pairs", "nand", "switch", "switch to the idle slot", words="switch --apply", prepare=older_in_b(PAIRS)),
    action(
        "pairs",
        "nand",
        "confirm",
        "confirm the trial",
        words="confirm --apply",
        prepare=b_on_trial(PAIRS),
        old=(),
        planned=WAYS["pairs"]["b"],
    ),
    action(
        "pairs",
        "nand",
        "rollback",
        "rollback before the trial",
        words="rollback --apply",
        prepare=older_in_b(PAIRS),
        session=begin_trial(PAIRS),
        old=(WAYS["pairs"]["b"],),
        new=WAYS["pairs"]["a"],
        planned=WAYS["pairs"]["a"],
        once=True,
    ),
    action(
        "pairs",
        "nand",
        "rollback_on_trial",
        "rollback in the trial",
        words="rollback --apply",
        prepare=b_on_trial(PAIRS),
        old=(WAYS["pairs"]["b"],),
        new=WAYS["pairs"]["a"],
        planned=WAYS["pairs"]["a"],
        refusals=(r"slot b runs, but slot a is the good one",),
        once=True,
    ),
    action(
        "pairs",
        "nand",
        "close",
        "health check after a failed trial",
        words="health",
        prepare=trial_used_up(PAIRS),
        old=(),
        new=WAYS["pairs"]["a"],
        planned=WAYS["pairs"]["a"],
    ),
    action(
        "pairs",
        "nand",
        "leave",
        "rollback --stock",
        words="rollback --stock --apply",
        prepare=installed(PAIRS),
        new=PAIR_AS_STOCK,
        planned=WAYS["pairs"]["a"],
        variables=("bp_*", "bootcmd"),
        refusals=(NO_SLOTS,),
    ),
    action(
        "own",
        "nand",
        "leave",
        "rollback --stock",
        words="rollback --stock --apply",
        prepare=installed(plan("own")),
        new=STOCK,
        planned=WAYS["own"]["a"],
        variables=("bp_*", "bootcmd"),
        refusals=(NO_SLOTS,),
        mounts={},
    ),
)
NO_VOLUMES = "ubirmvol /dev/ubi0 -N fit_a && ubirmvol /dev/ubi0 -N fit_b"
EMPTY_PARTITION = (
    "part=$(grep -l PARTNAME=fit_a /sys/class/block/*/uevent) && part=${part%/uevent} && "
    "dd if=/dev/zero of=/dev/${part##*/} bs=65536 count=32 conv=notrunc"
)
SLOT_ACTIONS = (
    install_slots("pairs", "nand"),
    # Slots differ in where the kernels are. The copy of the system is that of every root on the disk: it is there.
    install_slots(
        "own",
        "nand",
        name="install_kernels_nand",
        title="install over a finished copy: own kernels, nand",
        prepare=without_kernels(plan("own"), NO_VOLUMES),
    ),
    install_slots(
        "own",
        "emmc",
        name="install_card",
        title="install of slots, own kernels, emmc: up to the restart",
        refusals=(RESTART_FIRST,),
        twice=True,
    ),
    install_slots(
        "own",
        "emmc",
        name="install_kernels_emmc",
        title="install over a finished copy: own kernels, emmc",
        prepare=without_kernels(plan("own", "emmc"), EMPTY_PARTITION),
    ),
    upgrade_slot("pairs", "nand"),
    upgrade_slot(
        "pairs",
        "nand",
        name="upgrade_larger",
        title="first upgrade, kernel's volume too small, pairs, nand",
        prepare=small_volume(PAIRS),
    ),
    upgrade_slot("own", "nand"),
    upgrade_slot("own", "emmc"),
    *DECISIONS,
)
