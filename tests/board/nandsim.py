"""A router with NAND that has bad blocks: Debian's kernel with nandsim in QEMU, the real UBI, and mtd-utils.

It runs one shell script in an OpenWrt-like root in RAM, with a disk at /etc that outlives nothing. The script says
before each command what it is called; :func:`run` returns what each of them printed and ended with.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from . import debian, parts, tree
from .apt import Apt
from .cache import Part, Report, build_parts, command, digest_of, recipe_of, silent
from .machine.programs import QEMU_SUITE

APT_PACKAGES = ("mtd-utils", "cpio", "kmod")
MODULES = ("nandsim", "ubi", "virtio_blk", "virtio_pci", "ext4")
REAL = (
    "ubiattach",
    "ubidetach",
    "ubiformat",
    "ubimkvol",
    "ubirmvol",
    "ubirename",
    "ubiupdatevol",
    "flash_erase",
    "nandwrite",
)
SECONDS = 240
KERNEL_NAME = re.compile(r"linux-image-6\.1\.0-(\d+)-amd64-unsigned")
# 128 MiB in blocks of 128 KiB and pages of 2 KiB, as the board's.
CHIP = "id_bytes=0x2c,0xf1,0x80,0x95"

# Device tree, memory and names of MTD partitions are put over what the kernel of a PC shows.
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs none /tmp
for module in $(cat /modules/order); do /.rig/insmod /modules/$module || echo "no module $module"; done
mount -t ext4 /dev/vda /etc
mkdir -p /var/lock
mount -t tmpfs none /sys/firmware
chosen=/sys/firmware/devicetree/base/chosen
mkdir -p $chosen
printf 'bananapi,bpi-r4\\0mediatek,mt7988a\\0' >$chosen/../compatible
printf '\\0\\0\\0\\1' | tee $chosen/rootdisk-spim-nand >$chosen/rootdisk
printf 'U-Boot 2025.10-OpenWrt' >$chosen/u-boot,version
sed 's/^MemTotal: .*/MemTotal: 4100000 kB/' /proc/meminfo >/tmp/meminfo
mount --bind /tmp/meminfo /proc/meminfo
chip() { # BAD PARTS NAME... - a new chip: which blocks are bad, blocks of each partition, and their names
    bad=$1 blocks=$2 number=0
    shift 2
    ! grep -q ubi0 /proc/misc && [ ! -e /dev/ubi0 ] || ubidetach -d 0 >/dev/null
    for one in $(seq 0 9); do umount /sys/class/mtd/mtd$one/name 2>/dev/null; done
    /.rig/rmmod nandsim 2>/dev/null
    /.rig/insmod /modules/nandsim.ko CHIP parts=$blocks ${bad:+badblocks=$bad} || echo "no chip"
    for name; do
        echo "$name" >/tmp/name$number
        mount --bind /tmp/name$number /sys/class/mtd/mtd$number/name
        number=$((number + 1))
    done
}
t() { # NAME COMMAND... - runs it, and says what it is called and how it ended
    printf '\\n==begin %s\\n' "$1"
    shift
    (eval "$*") 2>&1
    printf '\\n==end %s\\n' "$?"
}
. /cases.sh
echo "==done"
sync
poweroff -f
"""
MTD = """#!/bin/sh
# OpenWrt's `mtd write FILE NAME` in the words of mtd-utils: bad blocks are left out.
for entry in /sys/class/mtd/mtd*; do
    [ -e $entry/name ] && [ "$(cat $entry/name)" = "$3" ] || continue
    flash_erase -q /dev/${entry##*/} 0 0 && nandwrite -q -p /dev/${entry##*/} "$2"
    exit
done
exit 1
"""


def kernel_packages(folder: Path) -> list[str]:
    """Return the names of the packages with Debian 12's kernel for a PC, newest first: each version has a name."""
    names = Apt(folder / ".apt-name", ["bookworm"]).ask("pkgnames", "linux-image-6.1").split()
    shutil.rmtree(folder / ".apt-name")
    numbers = {int(found[1]): name for name in names if (found := KERNEL_NAME.fullmatch(name))}
    return [numbers[number] for number in sorted(numbers, reverse=True)]


def make_kernel(folder: Path) -> None:
    """Fetch Debian's kernel, and keep the modules that are needed, in the order they load in."""
    version = debian.unpack_first(kernel_packages(folder), folder)
    release = next((folder / "lib/modules").iterdir()).name
    command(["depmod", "-b", folder, release])
    base = folder / "lib/modules" / release
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[Path(path).stem] = (path, others.split())
    order: list[str] = []
    for name in MODULES:
        path, before = needs[name]
        order += [one for one in [*reversed(before), path] if one not in order]
    order += [path for name, (path, _) in needs.items() if name == "crc32c_generic"]
    order = [one for one in order if not one.endswith("/nandsim.ko")]
    (folder / "modules").mkdir()
    for path in [*order, needs["nandsim"][0]]:
        shutil.copy(base / path, folder / "modules")
    (folder / "modules/order").write_text("\n".join(Path(one).name for one in order) + "\n")
    shutil.copy(next((folder / "boot").glob("vmlinuz-*")), folder / "vmlinuz")
    for name in ("lib", "boot", "usr"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "version").write_text(version + "\n")


def make_qemu(folder: Path) -> None:
    """Fetch QEMU for a PC, with everything it needs."""
    (folder / "version").write_text(
        debian.unpack(["qemu-system-x86"], folder, suite=QEMU_SUITE, dependencies=True) + "\n"
    )


PARTS = (
    Part(
        "kernel-nandsim",
        make_kernel,
        lambda: digest_of(recipe_of(make_kernel, kernel_packages), repr(MODULES)),
    ),
    Part("qemu-x86", make_qemu, lambda: digest_of(recipe_of(make_qemu, debian.unpack), QEMU_SUITE)),
)


def add_real(root: Path, programs: Iterable[str]) -> None:
    """Add programs of this system with their libraries, below /.rig of the root."""
    for name in ("bin", "lib"):
        (root / ".rig" / name).mkdir(parents=True, exist_ok=True)
    for name in programs:
        path = parts.real_program(name)
        shutil.copy(path, root / ".rig/bin" / name)
        for library in re.findall(r"(/\S+) \(0x", command(["ldd", path])):
            target = "ld.so" if "/ld-linux" in library else f"lib/{Path(library).name}"
            shutil.copy(library, root / ".rig" / target)


def make_root(folder: Path, cases: str, files: Mapping[str, str | bytes]) -> None:
    """Make the initramfs and the disk for /etc; ``files`` are {path: bytes} of the root."""
    built, here = parts.build(), build()  # also the programs that are copied from this system
    root = folder / "root"
    tree.fill(
        root,
        built,
        release="25.12.5",
        board_name="bananapi,bpi-r4",
        packages=(),
        kernel_nvme="builtin",
        shell="ash",
        fstools_overlay_name=True,
    )
    add_real(root, (*REAL, "insmod", "rmmod"))
    for name in REAL:
        tree.put_program(root, f"/usr/sbin/{name}", built["standins"] / "bin/launch")
    for name in ("insmod", "rmmod"):
        tree.write(
            root,
            f"/.rig/{name}",
            f'#!/bin/sh\nexec /.rig/ld.so --library-path /.rig/lib --argv0 {name} /.rig/bin/{name} "$@"\n',
            0o755,
        )
    (root / "sbin/mtd").unlink()
    tree.write(root, "/sbin/mtd", MTD, 0o755)
    shutil.copytree(here["kernel-nandsim"] / "modules", root / "modules")
    tree.write(root, "/init", INIT.replace("CHIP", CHIP), 0o755)
    tree.write(root, "/cases.sh", cases)
    for path, data in files.items():
        tree.write(root, path, data)
    with open(folder / "initrd", "wb") as archive:
        names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=root, input=names, stdout=archive, check=True
        )
    command(["mke2fs", "-q", "-F", "-t", "ext4", "-d", root / "etc", folder / "etc.img", "48M"])


def build(report: Report = silent) -> dict[str, Path]:
    """Build or find what is needed and return ``{name: folder}``."""
    debian.install(APT_PACKAGES)
    return build_parts(PARTS, report)


def run(folder: str | Path, cases: str, files: Mapping[str, str | bytes]) -> tuple[dict[str, tuple[int, str]], str]:
    """Run the cases, and return {name: (code, text)} and all that was printed.

    They are lines ``t NAME COMMAND`` and ``chip BAD PARTS NAME...``.
    """
    folder = Path(folder)
    make_root(folder, cases, files)
    found = build()
    usr = found["qemu-x86"] / "usr"
    libraries = usr / "lib/x86_64-linux-gnu"
    words: list[str | Path] = [
        libraries / "ld-linux-x86-64.so.2",
        "--library-path",
        f"{libraries}:{libraries}/systemd",
        usr / "bin/qemu-system-x86_64",
        "-L",
        usr / "share/qemu",
        "-L",
        usr / "share/seabios",
        "-accel",
        "tcg",
        "-cpu",
        "qemu64,+rdrand",
        "-m",
        "1024",
        "-nodefaults",
        "-no-reboot",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-kernel",
        found["kernel-nandsim"] / "vmlinuz",
        "-initrd",
        folder / "initrd",
        "-append",
        "console=ttyS0 panic=-1 quiet mitigations=off no_timer_check random.trust_cpu=on",
        "-drive",
        f"file={folder}/etc.img,if=virtio,format=raw",
    ]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False
    )
    text = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    results = {
        name: (int(code), out) for name, out, code in re.findall(r"==begin (\S+)\n(.*?)\n==end (\d+)", text, re.DOTALL)
    }
    if "==done" not in text:
        raise AssertionError(f"the cases did not come to their end:\n{text[-6000:]}")
    return results, text
