"""The actions that are cut, as :class:`action.Action`: every action of the script that changes something."""

from .. import scripts
from ..router import Disk, GiB
from ..scripts import SERIAL, Bench, plan
from .action import ENV_BYTES, INTERNAL, NEW_FILES, OWN_FILES, ROOTS, Action

LARGER = ("{name: root, size: 512MiB, filesystem: ext4}", "{name: data, size: rest, filesystem: ext4, mount: /srv}")
KEEP = "/etc/keep"
CARD = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz"
WITH_FALLBACK = plan("internal", more=f"fallback: {{medium: sd, image: {{file: {CARD}, sha256: '{'0' * 64}'}}}}\n")
PROOFS = ("2026-01-02 25.12.4", "2026-03-04 25.12.5")
RECOPY = f"install --apply --recopy --wipe {SERIAL}"
# Until the old root has been overwritten it is what starts, and nobody can overwrite the root he runs from.
IN_USE = (r"must (change|get a new file system), but (the disk|it) is in use: .*start the router from the boot medium alone first",)
START_THE_OTHER = r"--recopy copies the system of the boot medium; start that one first"


def kind_of(method, medium):
    """Return what the router is made with; the disk is small, because it is only filled a little."""
    return {**scripts.kind_of_router(method), "medium": medium, "disks": (Disk(size=GiB),)}


def targets_of(method, medium):
    """Return the images, or their parts, that an install may change."""
    if method != "cmdline":
        return {"nvme0": None, "overlay": None}
    env = {"ubootenv": None, "ubootenv2": None} if medium == "nand" else {"mmcblk0": ENV_BYTES}
    return {"nvme0": None, "overlay": None, **env}


def install(method, medium="nand", **more):
    """Return the action of a first install on a blank disk, with what is different about it."""
    return Action(**{
        "name": f"install_{method}_{medium}".replace("-", "_"), "title": f"install, {method}, {medium}",
        "plan": plan(method, medium), "kind": kind_of(method, medium), "new": ROOTS[method],
        "mounts": {"/srv": ("nvme0", 1 if method == "internal" else 2)}, "targets": targets_of(method, medium),
        "variables": ("bootargs",) if method == "cmdline" else (), **more,
    })


def installed(method):
    """Return a function that installs, and changes the running system afterwards: it is newer than its copy then."""
    def session(box):
        """Install, and add a file to the running system, always of the same time."""
        Bench(box, plan(method)).sh("install --apply").ok()
        box.put("/etc/later", "later\n")
        box.run("touch -r /etc/passwd /etc/later").ok()
    return session


def install_and_restart(method):
    """Return a function that installs and starts the new system."""
    def prepare(box):
        """Install and restart."""
        Bench(box, plan(method)).sh("install --apply").ok()
        box.reboot()
    return prepare


def install_and_take_back(medium):
    """Return a function that installs with root= on the disk, restores the environment, and starts the stock system."""
    def prepare(box):
        """Install, restore, restart."""
        bench = Bench(box, plan("cmdline", medium))
        bench.sh("install --apply").ok()
        bench.sh("restore-env $(ls /etc/bootplan/env-*.txt) --apply").ok()
        box.reboot()
    return prepare


def back_to_the_medium(box):
    """Install an overlay, use it, start the system of the boot medium again as the script says, and change that."""
    install_and_restart("extroot-overlay")(box)
    box.run("mount -t ubifs ubi0:rootfs_data /mnt && uci -c /mnt/upper/etc/config set fstab.bootplan_root.enabled=0 && "
            "uci -c /mnt/upper/etc/config commit fstab && umount /mnt").ok()
    box.reboot()
    box.put("/etc/later", "later\n")


def a_folder_to_keep_things(box):
    """Install, restart, and make the folder for the backup."""
    install_and_restart("internal")(box)
    box.run(f"mkdir {KEEP}").ok()


def proven_before(box):
    """Install, restart, and note an older proof of the fallback."""
    install_and_restart("internal")(box)
    box.run(f"fw_setenv bp_proven '{PROOFS[0]}'").ok()


def another_proof(box):
    """The environment says the old proof, or the new one."""
    said = box.run("fw_printenv -n bp_proven").out.strip()
    return [] if said in PROOFS else [f"the fallback was proven '{said}', which nobody said"]


def half_backups(box):
    """A backup that has its name must be complete, and its sums must hold."""
    found = box.run(f"cd {KEEP} && for one in bootplan-*.tar.gz; do [ -e $one ] || continue; sha256sum -c $one.sha256 >/dev/null && "
                    "rm -rf /tmp/seen && mkdir /tmp/seen && tar -C /tmp/seen -xzf $one && "
                    "(cd /tmp/seen/* && sha256sum -c SHA256SUMS >/dev/null && [ -s uboot-env.txt ] && [ -s config.tar.gz ] && "
                    "[ -e fstab ] && [ -e r4.sh ] && [ -e nvme0n1.sfdisk ]) || echo $one; done; rm -rf /tmp/seen")
    return [f"half taken for whole: backup {name}" for name in found.out.split()]


ACTIONS = (
    install("extroot-overlay"),
    install("extroot-pivot"),
    install("cmdline"),
    install("internal"),
    # The media differ in where the environment is, and in nothing else of the action.
    install("cmdline", "emmc", name="bootargs_emmc", title="install over a finished copy: bootargs only, emmc",
            prepare=install_and_take_back("emmc")),
    install("cmdline", "sd", name="bootargs_sd", title="install over a finished copy: bootargs only, sd",
            prepare=install_and_take_back("sd")),
    install("extroot-overlay", name="recopy_extroot_overlay",
            title="install --recopy over an old copy, extroot-overlay", words=RECOPY,
            prepare=back_to_the_medium, refusals=(START_THE_OTHER,), kills=False),
    install("cmdline", name="recopy_cmdline", title="install --recopy over a root in use at the next start, cmdline",
            words=RECOPY, session=installed("cmdline"), refusals=(START_THE_OTHER,)),
    install("extroot-pivot", name="resize",
            title="install of a plan with a larger root over an old copy, extroot-pivot",
            plan=plan("extroot-pivot", partitions=LARGER), words=f"install --apply --wipe {SERIAL}",
            session=installed("extroot-pivot"), refusals=IN_USE, kills=False),
    install("cmdline", name="restore_env", title="restore-env, back to the stock system",
            words="restore-env $(ls /etc/bootplan/env-*.txt) --apply", prepare=install_and_restart("cmdline"),
            new=INTERNAL, old=(ROOTS["cmdline"],), planned=ROOTS["cmdline"],
            targets={"nvme0": None, "overlay": None, "ubootenv": None, "ubootenv2": None}),
    install("internal", name="backup", title="backup", words=f"backup {KEEP}", prepare=a_folder_to_keep_things,
            files=(*OWN_FILES, f"{KEEP}/"), look=half_backups, targets={"nvme0": None, "overlay": None}),
    install("internal", name="prove_fallback", title="prove-fallback --seen, over an older proof", plan=WITH_FALLBACK,
            words=f"prove-fallback --seen {PROOFS[1]} --apply", prepare=proven_before, variables=("bp_proven",),
            look=another_proof, targets={"nvme0": None, "overlay": None, "ubootenv": None, "ubootenv2": None}),
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
    name="guide", title="the commands of a common guide", plan="", words="", script=GUIDE, kills=False,
    kind=kind_of("cmdline", "nand"), new=ROOTS["cmdline"], variables=("bootargs",),
    targets=targets_of("cmdline", "nand"), files=(*OWN_FILES, *NEW_FILES, "/mnt/"),
)
