"""The actions that are cut, as :class:`action.Action`: every action of the script that changes something."""

from collections.abc import Callable
from typing import Any

from .. import scripts
from ..images import GiB
from ..router import Disk, Router
from ..scripts import SERIAL, Bench, plan
from .action import ENV_BYTES, INTERNAL, NEW_FILES, OWN_FILES, ROOTS, Action, Target

LARGER = ("{name: root, size: 512MiB, filesystem: ext4}", "{name: data, size: rest, filesystem: ext4, mount: /srv}")
KEEP = "/etc/keep"
CARD = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz"
WITH_FALLBACK = plan("internal", more=f"fallback: {{medium: sd, image: {{file: {CARD}, sha256: '{'0' * 64}'}}}}\n")
PROOFS = ("2026-01-02 25.12.4", "2026-03-04 25.12.5")
RECOPY = f"install --apply --recopy --wipe {SERIAL}"
# Until the old root has been overwritten it is what starts, and nobody can overwrite the root he runs from.
IN_USE = (
    (
        r"must (change|get a new file system), but (the disk|it) is in use: "
        r".*start the router from the boot medium alone first"
    ),
)
START_THE_OTHER = r"--recopy copies the system of the boot medium; start that one first"


def kind_of(method: str, medium: str) -> dict[str, Any]:
    """Return what the router is made with; the disk is small, because it is only filled a little."""
    return {**scripts.kind_of_router(method), "medium": medium, "disks": (Disk(size=GiB),)}


def targets_of(method: str, medium: str) -> dict[str, Target]:
    """Return the images, or their parts, that an install may change."""
    if method != "cmdline":
        return {"nvme0": None, "overlay": None}
    env = {"ubootenv": None, "ubootenv2": None} if medium == "nand" else {"mmcblk0": ENV_BYTES}
    return {"nvme0": None, "overlay": None, **env}


def install(method: str, medium: str = "nand", **more: Any) -> Action:
    """Return the action of a first install on a blank disk, with what is different about it."""
    return Action(
        **{
            "name": f"install_{method}_{medium}".replace("-", "_"),
            "title": f"install, {method}, {medium}",
            "plan": plan(method, medium),
            "kind": kind_of(method, medium),
            "new": ROOTS[method],
            "mounts": {"/srv": ("nvme0", 1 if method == "internal" else 2)},
            "targets": targets_of(method, medium),
            "variables": ("bootargs",) if method == "cmdline" else (),
            **more,
        }
    )


def installed(method: str) -> Callable[[Router], None]:
    """Return a function that installs, and changes the running system afterwards: it is newer than its copy then."""

    def session(box: Router) -> None:
        """Install, and add a file to the running system, always of the same time."""
        Bench(box, plan(method)).sh("install --apply").ok()
        box.put("/etc/later", "later\n")
        box.run("touch -r /etc/passwd /etc/later").ok()

    return session


def install_and_restart(method: str) -> Callable[[Router], None]:
    """Return a function that installs and starts the new system."""

    def prepare(box: Router) -> None:
        """Install and restart."""
        Bench(box, plan(method)).sh("install --apply").ok()
        box.reboot()

    return prepare


def install_and_take_back(medium: str) -> Callable[[Router], None]:
    """Return a function that installs with root= on the disk, restores the environment, and starts the stock system."""

    def prepare(box: Router) -> None:
        """Install, restore, restart."""
        bench = Bench(box, plan("cmdline", medium))
        bench.sh("install --apply").ok()
        bench.sh("restore-env $(ls /etc/bootplan/env-*.txt) --apply").ok()
        box.reboot()

    return prepare


def back_to_the_medium(box: Router) -> None:
    """Install an overlay, use it, start the system of the boot medium again as the script says, and change that."""
    install_and_restart("extroot-overlay")(box)
    box.run(
        "mount -t ubifs ubi0:rootfs_data /mnt && uci -c /mnt/upper/etc/config set fstab.bootplan_root.enabled=0 && "
        "uci -c /mnt/upper/etc/config commit fstab && umount /mnt"
    ).ok()
    box.reboot()
    box.put("/etc/later", "later\n")


def a_folder_to_keep_things(box: Router) -> None:
    """Install, restart, and make the folder for the backup."""
    install_and_restart("internal")(box)
    box.run(f"mkdir {KEEP}").ok()


def proven_before(box: Router) -> None:
    """Install, restart, and note an older proof of the fallback."""
    install_and_restart("internal")(box)
    box.run(f"fw_setenv bp_proven '{PROOFS[0]}'").ok()


def another_proof(box: Router) -> list[str]:
    """The environment says the old proof, or the new one."""
    said = box.run("fw_printenv -n bp_proven").out.strip()
    return [] if said in PROOFS else [f"the fallback was proven '{said}', which nobody said"]


RESTORED = {
    "/etc/config/dhcp": ("config dnsmasq\n\toption now 'here'\n", ""),  # the new one is the firmware's
    "/etc/added": ("", "added\n" * 5000),
    "/etc/link": ("", ""),
}


def a_backup_and_changes(box: Router) -> None:
    """Install, restart, make a backup, and change what is in it.

    That is a file, one that is new, one that is gone, a link, a variable.
    """
    install_and_restart("internal")(box)
    box.run(
        f"mkdir {KEEP}; echo /etc/added >>/etc/sysupgrade.conf; echo /etc/link >>/etc/sysupgrade.conf; "
        "ln -s /tmp/there /etc/link"
    ).ok()
    box.put("/etc/added", RESTORED["/etc/added"][1])
    Bench(box, plan("internal")).sh(f"backup {KEEP}").ok()
    box.run(
        f"mv {KEEP}/*.gz {KEEP}/it.tar.gz; rm {KEEP}/*.sha256 /etc/added /etc/link; ln -s /tmp/here /etc/link; "
        "fw_setenv bootdelay 7"
    ).ok()
    box.put("/etc/config/dhcp", RESTORED["/etc/config/dhcp"][0])


def old_or_new(box: Router) -> list[str]:
    """Each file is what it was or what the backup has.

    What was replaced is in a whole backup that the script made before.
    """
    faults, replaced = [], False
    for path, contents in RESTORED.items():
        have = box.run(f"cat {path} 2>/dev/null").out
        old, new = contents
        if path == "/etc/link":
            have = box.run(f"readlink {path}").out.strip()
            old, new = "/tmp/here", "/tmp/there"
        elif path == "/etc/config/dhcp":
            new = box.read(f"/rom{path}")
        replaced = replaced or have == new
        # A link has no write that is half of it, but a moment without it.
        if have not in (old, new) and (path != "/etc/link" or have):
            faults.append(f"torn: {path} holds {len(have)} characters of neither")
    saved = box.run(
        "cd /etc/bootplan 2>/dev/null && for one in bootplan-*.tar.gz; do sha256sum -c $one.sha256 >/dev/null 2>&1 && "
        "tar -xzOf $one ${one%.tar.gz}/config.tar.gz | tar -xzOf - etc/config/dhcp 2>/dev/null; done"
    ).out
    if replaced and RESTORED["/etc/config/dhcp"][0] not in saved:
        faults.append("lost: something was replaced, and what was there is in no backup")
    if box.run("fw_printenv -n bootdelay").out.strip() not in ("3", "7"):
        faults.append("torn: bootdelay is neither")
    return faults


def all_restored(box: Router) -> list[str]:
    """In the end everything is as the backup has it, and nothing was left beside it."""
    have = box.run(
        "cat /etc/config/dhcp; cat /etc/added; readlink /etc/link; fw_printenv -n bootdelay; "
        "ls -A /etc /etc/config | grep restored"
    ).out
    want = box.read("/rom/etc/config/dhcp") + RESTORED["/etc/added"][1] + "/tmp/there\n3\n"
    return [] if have == want else [f"not finished: {have[-200:]}"]


def half_backups(box: Router) -> list[str]:
    """A backup that has its name must be complete, and its sums must hold."""
    found = box.run(
        f"cd {KEEP} && for one in bootplan-*.tar.gz; do [ -e $one ] || continue; "
        "sha256sum -c $one.sha256 >/dev/null && rm -rf /tmp/seen && mkdir /tmp/seen && tar -C /tmp/seen -xzf $one && "
        "(cd /tmp/seen/* && sha256sum -c SHA256SUMS >/dev/null && [ -s uboot-env.txt ] && [ -s config.tar.gz ] && "
        "[ -e fstab ] && [ -e r4.sh ] && [ -e nvme0n1.sfdisk ]) || echo $one; done; rm -rf /tmp/seen"
    )
    return [f"half taken for whole: backup {name}" for name in found.out.split()]


ACTIONS = (
    install("extroot-overlay"),
    install("extroot-pivot"),
    install("cmdline"),
    install("internal"),
    # The media differ in where the environment is, and in nothing else of the action.
    install(
        "cmdline",
        "emmc",
        name="bootargs_emmc",
        title="install over a finished copy: bootargs only, emmc",
        prepare=install_and_take_back("emmc"),
    ),
    install(
        "cmdline",
        "sd",
        name="bootargs_sd",
        title="install over a finished copy: bootargs only, sd",
        prepare=install_and_take_back("sd"),
    ),
    install(
        "extroot-overlay",
        name="recopy_extroot_overlay",
        title="install --recopy over an old copy, extroot-overlay",
        words=RECOPY,
        prepare=back_to_the_medium,
        refusals=(START_THE_OTHER,),
        kills=False,
    ),
    install(
        "cmdline",
        name="recopy_cmdline",
        title="install --recopy over a root in use at the next start, cmdline",
        words=RECOPY,
        session=installed("cmdline"),
        refusals=(START_THE_OTHER,),
    ),
    install(
        "extroot-pivot",
        name="resize",
        title="install of a plan with a larger root over an old copy, extroot-pivot",
        plan=plan("extroot-pivot", partitions=LARGER),
        words=f"install --apply --wipe {SERIAL}",
        session=installed("extroot-pivot"),
        refusals=IN_USE,
        kills=False,
    ),
    install(
        "cmdline",
        name="restore_env",
        title="restore-env, back to the stock system",
        words="restore-env $(ls /etc/bootplan/env-*.txt) --apply",
        prepare=install_and_restart("cmdline"),
        new=INTERNAL,
        old=(ROOTS["cmdline"],),
        planned=ROOTS["cmdline"],
        targets={"nvme0": None, "overlay": None, "ubootenv": None, "ubootenv2": None},
    ),
    install(
        "internal",
        name="backup",
        title="backup",
        words=f"backup {KEEP}",
        prepare=a_folder_to_keep_things,
        files=(*OWN_FILES, f"{KEEP}/"),
        look=half_backups,
        targets={"nvme0": None, "overlay": None},
    ),
    install(
        "internal",
        name="restore",
        title="restore, settings and environment",
        words=f"restore {KEEP}/it.tar.gz --apply",
        prepare=a_backup_and_changes,
        files=(*OWN_FILES, *RESTORED),
        variables=("bootdelay",),
        look=old_or_new,
        end=all_restored,
        targets={"nvme0": None, "overlay": None, "ubootenv": None, "ubootenv2": None},
    ),
    install(
        "internal",
        name="prove_fallback",
        title="prove-fallback --seen, over an older proof",
        plan=WITH_FALLBACK,
        words=f"prove-fallback --seen {PROOFS[1]} --apply",
        prepare=proven_before,
        variables=("bp_proven",),
        look=another_proof,
        targets={"nvme0": None, "overlay": None, "ubootenv": None, "ubootenv2": None},
    ),
)

# The recipe that many guides give, block by block, as it can be typed on a stock router. In place of the guide's own
# commands, which are not there or do something else: `sfdisk` for `fdisk`, a list of folders for `tar --exclude`, each
# folder by itself for `mkdir {proc,sys}`. In place of its device name the PARTUUID, and the router has a kernel with
# NVMe built in and an fstools that is told to add no overlay: with the guide's own line no stock router starts again.
GUIDE = """\
printf 'label: gpt\\nname="nvme-root"\\n' | sfdisk -q /dev/nvme0n1
mkfs.ext4 -q -F -L nvme-root /dev/nvme0n1p1
mkdir -p /mnt/nvme
mount /dev/nvme0n1p1 /mnt/nvme
cd /
tar -cf - bin etc lib root sbin srv usr var www run | tar -C /mnt/nvme -xf -
for name in proc sys dev tmp mnt rom overlay .rig; do mkdir -p /mnt/nvme/$name; done
id=$(sfdisk --part-uuid /dev/nvme0n1 1 | tr A-F a-f)
fw_setenv bootargs "console=ttyS0,115200n1 fstools_overlay_name=none root=PARTUUID=$id rootfstype=ext4 rootwait"
fw_printenv bootargs
"""

GUIDES = Action(
    name="guide",
    title="the commands of a common guide",
    plan="",
    words="",
    script=GUIDE,
    kills=False,
    kind=kind_of("cmdline", "nand"),
    new=ROOTS["cmdline"],
    variables=("bootargs",),
    targets=targets_of("cmdline", "nand"),
    files=(*OWN_FILES, *NEW_FILES, "/mnt/"),
)
