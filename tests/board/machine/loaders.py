"""What the table shows of `reflash` on the whole board: real UBI, an eMMC with its own boot partitions and registers.

U-Boot comes from QEMU's own memory here, so a board starts whatever is in the volume or partition fip.
"""

import time
from pathlib import Path

from .. import images
from ..cache import cached, digest_of, recipe_of
from ..cuts.journal import Cut, History, replay
from ..debian import unpack
from ..loaders import Files, bl2, fip, recovery
from ..router import Disk
from ..scenario import Outcome, scenario
from ..scripts import SERIAL, Bench
from . import media
from .board import Machine

UP = 100
DISK = (Disk(serial=SERIAL),)
DATA_BYTES = 8 << 20  # leaves room for a second volume fip
FOLDER = "/root/files"
NAND, EMMC = Files(), Files("emmc", image=True)
GPT = {name: (offset << 10, size << 10) for name, offset, size in images.GPT["emmc"]}
SAMPLES = 60  # cuts that are looked at from outside; of these some are started and finished
STARTED = 3


def check(condition: object, *texts: object) -> None:
    """Raise :class:`AssertionError` with the texts when the condition does not hold."""
    if not condition:
        raise AssertionError("\n".join(map(str, texts)))


def mmc_utils() -> Path:
    """Return the program mmc of Debian's mmc-utils for arm64."""

    def make(folder: Path) -> None:
        """Fetch it."""
        (folder / "version").write_text(unpack(["mmc-utils"], folder, architecture="arm64") + "\n")

    found = cached("mmc-arm64", digest_of(recipe_of(unpack)), make)
    return next(path for path in found.rglob("mmc") if path.is_file())


def old_fip(box: Machine) -> str:
    """Put an old FIP into the volume, and return the volume's device."""
    node = box.run("grep -lx fip /sys/class/ubi/ubi0_*/name").ok().out.strip().split("/")[-2]
    box.put("/tmp/old.fip", fip("old"))
    box.run(f"ubiupdatevol /dev/{node} /tmp/old.fip && rm /tmp/old.fip").ok()
    return f"/dev/{node}"


def starts_with(image: Path, *versions: str) -> bool:
    """Tell whether the volume fip on a flash begins with one of these FIPs."""
    have = media.volumes(image, ("fip",)).get("fip", b"")
    return any(have.startswith(fip(one)) for one in versions)


@scenario(
    tier=3, title="reflash fip, nand: real UBI, cut at samples; the old or the new FIP at each, finished after some"
)
def board_reflash_fip(folder: Path) -> Outcome:
    """Every sampled cut is read as UBI's headers say, from outside.

    Some are started, where the same command finishes.
    """
    journal = folder / "journal"
    with Machine(folder / "first", disks=DISK, data_bytes=DATA_BYTES) as machine:
        machine.boot(UP)
        old_fip(machine)
        NAND.put(machine, FOLDER)
        machine.sync()
        machine.off()
        with machine.recording(journal) as server:
            machine.boot(UP)
            bench = Bench(machine, NAND.plan())
            server.mark("begin")
            done = bench.sh(f"reflash fip {FOLDER} --apply").ok().out
            server.mark("end")
            check("ubirename /dev/ubi0 fip fip_old fip_new fip" in done, done)
            check("already so" in bench.sh(f"reflash fip {FOLDER} --apply").ok().out)
        first, last = (mark.step for mark in History(journal).marks)
        bad, started = 0, []
        for number in range(SAMPLES):
            cut = Cut(first + (last - first) * (number + 1) // SAMPLES, ())
            replay(History(journal), cut, folder / "cut")
            good = starts_with(folder / "cut/flash.img", "old", "new")
            bad += not good
            if number % (SAMPLES // STARTED) == SAMPLES // STARTED // 2:
                started.append(finish(folder / f"start-{number}", folder / "cut"))
        check(starts_with(folder / "cut/flash.img", "new"), "the last cut has not the new FIP")
        return Outcome(cuts=SAMPLES, bad=bad, note=f"of {last - first} writes; {', '.join(started)}")


def finish(folder: Path, images_of_cut: Path) -> str:
    """Start a board from what a cut left, give the same command, and bring the old FIP back."""
    with Machine(folder, disks=DISK, data_bytes=DATA_BYTES) as machine:
        machine.adopt(images_of_cut)
        was = "new" if starts_with(machine.image("flash"), "new") else "old"
        machine.boot(UP)
        bench = Bench(machine, NAND.plan())
        bench.sh(f"reflash fip {FOLDER} --apply").ok()
        names = machine.run("cat /sys/class/ubi/ubi0_*/name").ok().out.split()
        check(not {"fip_new", "fip_old"} & set(names), names)
        machine.sync()
        check(starts_with(machine.image("flash"), "new"), "not the new FIP")
        saved = machine.run("ls /etc/bootplan/old/fip-*.bin").ok().out.split()
        check("already so" not in bench.sh(f"reflash fip {saved[0]} --apply").ok().out)
        machine.sync()
        check(starts_with(machine.image("flash"), "old"), "the old FIP did not come back")
        return f"{was}, finished and taken back"


@scenario(tier=3, title="reflash fip in place, nand: cut in the middle of the write, finished after it")
def board_reflash_in_place(folder: Path) -> Outcome:
    """The kernel's update marker is set at the cut; the old FIP was saved, and the same command writes the new one."""
    with Machine(folder, disks=DISK) as machine:
        machine.boot(UP)
        node = old_fip(machine)
        NAND.put(machine, FOLDER)
        machine.sync()
        bench = Bench(machine, NAND.plan())
        refused = bench.sh(f"reflash fip {FOLDER} --apply")
        check(refused.code == 3 and "no room for a second volume" in refused.out, refused.out)
        # A feed that stalls: the kernel has the update begun, and waits for the rest.
        machine.put(
            "/usr/sbin/slow",
            f"#!/bin/sh\n(head -c 400000 $2; sleep 1000) | /.rig/ld.so --library-path /.rig/lib "
            f"/.rig/bin/ubiupdatevol -s {len(fip())} $1 -\n",
            0o755,
        )
        real = machine.run("command -v ubiupdatevol").ok().out.strip()
        machine.run(f"mount --bind /usr/sbin/slow {real}").ok()
        machine.start(f"sh {bench.name} reflash fip {FOLDER} --apply --in-place")
        marker = f"/sys/class/ubi/{node[5:]}/upd_marker"
        raised = wait_for_marker(machine)
        check(raised, "no update was begun")
        machine.power_cut()
        machine.boot(UP)
        check(machine.read(marker) == "1\n", "the marker is not set")
        check(machine.run("cd /etc/bootplan/old && sha256sum -c fip-*.sha256").code == 0, "the old FIP is not saved")
        machine.put(bench.name, bench.script)
        done = bench.sh(f"reflash fip {FOLDER} --apply --in-place").ok().out
        check("there is nothing to save" in done, done)
        check(machine.read(marker) == "0\n", "the marker is still set")
        machine.sync()
        check(starts_with(machine.image("flash"), "new"), "not the new FIP")
    return Outcome()


def wait_for_marker(machine: Machine) -> bool:
    """Wait until the volume fip has lost its blocks; tell whether it did."""
    for _ in range(600):
        if not starts_with(machine.image("flash"), "old"):
            return True
        time.sleep(0.1)
    return False


@scenario(tier=3, title="reflash emmc: real boot0, force_ro and EXT_CSD; the board's own partitions stay")
def board_reflash_emmc(folder: Path) -> Outcome:
    """From the eMMC itself, with --in-place; mmc-utils reads and sets the register that gives boot0 to the boot ROM."""
    with Machine(folder, medium="emmc") as machine:
        card, before = machine.image("mmcblk0"), media.bytes_before_card("emmc")
        machine.boot(UP)
        EMMC.put(machine, FOLDER)
        machine.put("/usr/bin/mmc.real", mmc_utils().read_bytes(), 0o755)
        machine.put(
            "/usr/bin/mmc", '#!/bin/sh\nexec /.rig/ld.so --library-path /.rig/lib /usr/bin/mmc.real "$@"\n', 0o755
        )
        check("PARTITION_CONFIG: 0x00" in machine.run("mmc extcsd read /dev/mmcblk0").ok().out, "another register")
        check(machine.run("echo x >/dev/mmcblk0boot0").code != 0, "boot0 can be written without more")
        machine.sync()
        kept = {name: part(card, before, name) for name in ("ubootenv", "factory")}
        machine.run(
            "sed 's/^MemTotal: .*/MemTotal: 4100000 kB/' /proc/meminfo >/tmp/meminfo && "
            "mount --bind /tmp/meminfo /proc/meminfo"
        ).ok()
        bench = Bench(machine, EMMC.plan())
        check("--in-place" in bench.sh(f"reflash emmc {FOLDER} --apply").out, "no word of --in-place")
        bench.sh(f"reflash emmc {FOLDER} --apply --in-place", 300).ok()
        check(
            "PARTITION_CONFIG: 0x48" in machine.run("mmc extcsd read /dev/mmcblk0").ok().out, "the register was not set"
        )
        check(machine.run("echo x >/dev/mmcblk0boot0").code != 0, "boot0 can still be written")
        check("it is already so" in bench.sh(f"reflash emmc {FOLDER} --apply").ok().out, "not already so")
        machine.sync()
        check(part(card, before, "fip").startswith(fip()), "another FIP")
        check(part(card, before, "recovery").startswith(recovery()), "another recovery")
        check(kept == {name: part(card, before, name) for name in kept}, "a partition changed that nobody named")
        with open(card, "rb") as image:
            check(image.read(1 << 20).startswith(bl2("emmc")), "another BL2 in boot0")
    return Outcome()


def part(card: Path, before: int, name: str) -> bytes:
    """Return the bytes of a partition of the eMMC."""
    first, size = GPT[name]
    with open(card, "rb") as image:
        image.seek(before + first)
        return image.read(size)
