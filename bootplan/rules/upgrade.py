"""Rules about upgrades: which image, what is kept, where the backup goes, and what sysupgrade would do."""

from collections.abc import Iterator

from bootplan.board import Board
from bootplan.diagnostics import Severity
from bootplan.packages import image_hint, missing, needed
from bootplan.plan import Plan
from bootplan.rules.names import other_release, wrong_file
from bootplan.rules.rule import Finding, rule

_NOT_KEPT = ("/dev", "/lib/modules", "/overlay", "/proc", "/rom", "/run", "/sys", "/tmp", "/var")
_NOT_AS_A_WHOLE = ("/etc/init.d", "/lib/firmware", "/usr/bin", "/usr/lib", "/usr/libexec", "/usr/sbin", "/usr/share")
_OF_THE_SYSTEM = (
    *("/bin", "/lib", "/sbin", "/usr/lib/opkg", "/usr/lib/os-release"),
    *("/etc/apk/world", "/etc/board.d", "/etc/device_info", "/etc/inittab", "/etc/openwrt_release"),
    *("/etc/openwrt_version", "/etc/os-release", "/etc/preinit", "/etc/rc.common", "/etc/rc.d", "/etc/uci-defaults"),
)
_OF_OTHERS = ("/lib/firmware",)
"""Where an owner may put files beside the system's."""


@rule("BP721", reads="root slots upgrade")
def cmdline_is_upgraded_by_slots(plan: Plan, board: Board) -> Iterator[Finding]:
    """A root on the kernel's command line is upgraded with slots, or not by the script.

    With root=PARTUUID=... kernel and root must change together: the new kernel comes to the boot
    medium, its modules have to be in the root on NVMe, and nothing chooses between old and new.
    sysupgrade changes the kernel only. With `slots:` each slot has both, and the old one stays
    until the new one has proved itself. With the other methods the first start of the new system
    is that of the boot medium alone, and brings the root on NVMe along.

    Wrong:
        firmware: {release: "25.12", kernel: nvme-builtin}
        root: {method: cmdline, partition: root}
        upgrade: {backup: /srv/backup}

    Right:
        root: {method: extroot-pivot, partition: root}
        upgrade: {backup: /srv/backup}

    Source: OpenWrt package/utils/fitblk/files/fit.sh writes the FIT image; the environment, where
    root= is, stays.
    """
    if plan.upgrade is not None and plan.slots is None and plan.root.method == "cmdline":
        yield Finding(
            ("upgrade",),
            "sysupgrade would change the kernel, and not the root that root= names",
            "remove it, add `slots:`, or choose extroot-pivot",
            of_key=True,
        )


@rule("BP722", reads="board firmware upgrade")
def image_is_for_this_board(plan: Plan, board: Board) -> Iterator[Finding]:
    """The image is a sysupgrade image for the plan's board and release.

    OpenWrt's images for sysupgrade are FIT images, `.itb`; there is no `.bin` for this board. The
    profile in the name is `bananapi_bpi-r4`, or `bananapi_bpi-r4-poe` for the board with the
    2.5GE port. An image you built yourself may have another beginning, or none. Where the name
    has a release it is the plan's: settings of 24.10 do not fit 25.12 (its compat_version is
    1.1), and a script for one release refuses to run on another.

    A name proves little. The script looks at the sum, at the metadata (sysupgrade -T) and at
    what is in the image before it writes anything.

    Wrong:
        upgrade:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}}
        upgrade:
          image:
            file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    Source: OpenWrt target/linux/mediatek/image/filogic.mk: the profile, its artifacts and
    DEVICE_COMPAT_VERSION.
    """
    if plan.upgrade is None or plan.upgrade.image is None:
        return
    name, here = plan.upgrade.image.file, ("upgrade", "image", "file")
    yield from wrong_file(plan, board, name, here, board.files.system)
    version = other_release(plan, board, name)
    if version is not None:
        yield Finding(
            here,
            f"this image is of OpenWrt {version}, the plan is for {plan.firmware.release}",
            "take an image of the plan's release, or change the release",
            related=(("the release is chosen here", ("firmware", "release")),),
        )


@rule("BP723", reads="media upgrade")
def kept_is_your_own(plan: Plan, board: Board) -> Iterator[Finding]:
    """What is kept is your own, and no part of the system.

    Programs, libraries and modules come with the new system. Old ones on top of it do not run on
    the new kernel, or run instead of the new ones. Name what is yours in such a folder, like
    /usr/share/my-maps. The same holds for what says which release this is, which packages are
    installed (/lib/apk, /usr/lib/opkg), which services start (/etc/rc.d), and what is done at a
    first boot (/etc/uci-defaults): kept, they tell of a system that is gone. In /dev, /proc, /run,
    /sys, /tmp and /var nothing lasts anyway, and /rom and /overlay show the same files once more.
    A partition of the plan stays as it is: what is on it would be copied into RAM for nothing.
    What is in /etc/config, and what each package names as its settings, is kept in any case.

    Wrong:
        upgrade: {keep: [/usr/lib]}

    Right:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}}
        upgrade: {keep: [/etc/wireguard, /usr/share/my-maps]}

    Source: OpenWrt package/base-files/files/sbin/sysupgrade, list_static_conffiles; /lib/upgrade/keep.d;
    package/base-files/files for what is of the system.
    """
    kept = () if plan.upgrade is None else plan.upgrade.keep
    for index, path in enumerate(kept):
        here = ("upgrade", "keep", index)
        if path in kept[:index]:
            yield Finding(here, f"{path} is listed twice", "remove one")
        elif _is_in(path, _NOT_KEPT):
            yield Finding(here, f"{path} comes with the system, or is made at each start", "remove it")
        elif path in (*board.system_trees, *_NOT_AS_A_WHOLE):
            yield Finding(here, f"{path} as a whole belongs to the system", "name what is yours in it")
        elif _is_in(path, _OF_THE_SYSTEM) and not _is_in(path, _OF_OTHERS):
            yield Finding(
                here,
                f"{path} is part of the system, and that of an old one breaks a new one",
                "remove it; name files of your own, in /etc/NAME, /root, /usr/bin or /usr/share/NAME",
            )
    if not kept:
        return
    mounts = [((*place, "mount"), one.mount) for place, one in plan.partitions() if one.mount is not None]
    for index, path in enumerate(kept):
        for place, mount in mounts:
            if _is_in(path, (mount,)) or _is_in(mount, (path,)):
                yield Finding(
                    ("upgrade", "keep", index),
                    f"{mount} is a partition of its own, which an upgrade leaves alone"
                    + ("" if _is_in(path, (mount,)) else f", and {path} holds it"),
                    "remove it" if _is_in(path, (mount,)) else "name what is yours beside it",
                    related=(("it is mounted here", place),),
                )


def _is_in(path: str, trees: tuple[str, ...]) -> bool:
    """Whether *path* is one of the *trees*, or lies in one."""
    return any(f"{path}/".startswith(f"{tree}/") for tree in trees)


@rule("BP726", reads="slots upgrade")
def slots_need_no_backup(plan: Plan, board: Board) -> Iterator[Finding]:
    """`settings`, `backup` and `reinstall` are for plans without slots.

    With slots the running system stays as it is: that is the backup. Its settings are copied into
    the other slot, which has what is in its image and is kept only when it proves healthy.

    Wrong:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}}
        upgrade: {backup: /srv/backup}

    Right:
        upgrade: {backup: /srv/backup}

    Source: the plan language itself.
    """
    if plan.slots is None or plan.upgrade is None:
        return
    for key in ("settings", "backup", "reinstall"):
        if key in plan.upgrade.model_fields_set:
            yield Finding(
                ("upgrade", key),
                f"with slots an upgrade knows no `{key}`: the old system stays",
                "remove it",
                of_key=True,
            )


@rule("BP727", reads="media root upgrade")
def backup_outlives_the_upgrade(plan: Plan, board: Board) -> Iterator[Finding]:
    """The backup is not where an upgrade, or a restart, takes it away.

    /tmp and /var are RAM. Folders of the system are set aside or made anew by the very upgrade
    that the backup is for. A partition of the plan with a `mount:` is a good place, another
    machine is a better one. With root `internal` every other folder is on the boot medium, which
    the upgrade writes again; only in /mnt there may be a disk that the plan does not know, and the
    router looks at that.

    Wrong:
        upgrade: {backup: /tmp/backup}

    Right:
        upgrade: {backup: /srv/backup}

    Source: OpenWrt package/base-files/files/lib/upgrade/nand.sh makes rootfs_data anew.
    """
    place = None if plan.upgrade is None else plan.upgrade.backup
    if place is None or not place.startswith("/"):
        return
    top = f"/{place.split('/')[1]}"
    if _is_in(place, _NOT_KEPT):
        yield Finding(("upgrade", "backup"), f"{place} is RAM, or no place for files", "name a folder on a disk")
    elif top in board.system_trees:
        yield Finding(
            ("upgrade", "backup"),
            f"{place} is in a folder of the system, which an upgrade replaces",
            "name one like /srv/backup",
        )
    elif plan.root.method == "internal" and not _is_in(place, ("/mnt",)):
        mounts = tuple(one.mount for _, one in plan.partitions() if one.mount is not None)
        if not _is_in(place, mounts):
            yield Finding(
                ("upgrade", "backup"),
                f"{place} is on the boot medium, which an upgrade writes again",
                f"name a folder on a partition of the plan, like {mounts[0]}/backup"
                if mounts
                else "give a partition a `mount:`, and name a folder there",
                related=(("root stays on the boot medium here", ("root", "method")),),
            )


@rule("BP724", Severity.NOTE, reads="slots")
def sysupgrade_knows_no_slots(plan: Plan, board: Board) -> Iterator[Finding]:
    """With slots, sysupgrade replaces a system in place, without a way back.

    It writes to the volumes `fit` and `rootfs_data`, or to `production`. With extroot-overlay
    that is the slot which runs; with cmdline it is the stock system, or with `kernel: shared`
    the kernel of both slots. Neither is tried out, and the other slot knows nothing of it. The
    script's `upgrade` writes the slot that does not run, starts it on trial, and comes back by
    itself when the trial fails.

    Told of:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Do:
        sh r4.sh upgrade IMAGE --apply      # in place of sysupgrade IMAGE

    Source: OpenWrt package/utils/fitblk/files/fit.sh.
    """
    if plan.slots is not None:
        yield Finding(
            ("slots",),
            "sysupgrade replaces a system in place, without a trial and without a way back",
            "upgrade by the script: upgrade IMAGE --apply",
            of_key=True,
        )


@rule("BP725", Severity.NOTE, reads="boot media firmware root packages slots bootloader")
def image_brings_its_packages(plan: Plan, board: Board) -> Iterator[Finding]:
    """What a slot needs is in its image.

    A new slot starts with what is in its image and with your settings; packages that were
    installed by hand are not there. With extroot-overlay and OpenWrt's own kernel it needs
    kmod-nvme and block-mount to find its overlay at all: the script refuses an image without
    them. Other packages can be installed after the start, if it has a network. The firmware
    selector and ImageBuilder bake them in from the PACKAGES line.

    Told of:
        media:
          ssd:
            type: nvme
            serial: S4EWNF0M531930D
            partitions:
              - {name: root-a, size: 8GiB, filesystem: ext4}
              - {name: root-b, size: 8GiB, filesystem: ext4}
        root: {method: extroot-overlay}
        slots: {a: {root: root-a}, b: {root: root-b}}

    Do:
        bootplan packages plan.yaml                     # the line for an image that has them
        bootplan inspect --plan plan.yaml IMAGE         # has it?

    Source: OpenWrt sysupgrade keeps configuration files only; fstools libfstools/extroot.c.
    """
    names = missing(needed(plan, board))
    if plan.slots is not None and names:
        yield Finding(
            ("slots",),
            "a slot has the packages that are in its image, and no others",
            f"bake them in: {image_hint(names)}",
            of_key=True,
        )
