"""The read-only root: a small but realistic OpenWrt tree as one squashfs image, built once for each kind of router."""

import os
import shutil
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .cache import HERE, cached, command, digest_of
from .parts import PC_PROGRAMS

# Programs of the stock image that run as they are, through the hidden tree.
STOCK_PROGRAMS = {
    "/usr/bin/ssh",
    "/usr/sbin/mke2fs",
    "/usr/sbin/mkfs.ext4",
    "/usr/sbin/e2fsck",
    "/usr/sbin/mkfs.f2fs",
    "/usr/sbin/fsck.f2fs",
}
# One program under several names.
UBI_PROGRAMS = ("ubimkvol", "ubirename", "ubirmvol", "ubiupdatevol")
PROGRAMS_OF_PACKAGES = {"sfdisk": "/usr/sbin/sfdisk", "partx-utils": "/usr/sbin/partx"}
# What a PC need not have.
NOT_ON_A_PC = {"fsync", "hexdump", "strings", "uci", "fw_printenv", "fw_setenv", "sysupgrade", "ubus", "mkfs.f2fs"}
# Packages of the stock image that the package manager lists beside those a test asks for.
STOCK_PACKAGES = (
    "base-files",
    "busybox",
    "e2fsprogs",
    "f2fsck",
    "fitblk",
    "fstools",
    "fwtool",
    "kernel",
    "libc",
    "mkf2fs",
    "mtd",
    "procd",
    "ubi-utils",
    "ubox",
    "uboot-envtools",
    "ubus",
    "uci",
)
FOLDERS = (
    "bin",
    "dev",
    "etc/config",
    "etc/init.d",
    "etc/rc.d",
    "etc/uci-defaults",
    "etc/modules-boot.d",
    "etc/modules.d",
    "etc/hotplug.d/block",
    "lib/upgrade/keep.d",
    "lib/preinit",
    "lib/functions",
    "mnt",
    "overlay",
    "proc",
    "rom",
    "root",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr/bin",
    "usr/lib",
    "usr/libexec",
    "usr/sbin",
    "usr/share",
    "www",
    ".rig",
)
CONFIGS = {
    "system": "config system\n\toption hostname 'OpenWrt'\n\toption timezone 'UTC'\n\toption ttylogin '0'\n",
    "network": (
        "config interface 'loopback'\n\toption device 'lo'\n\toption proto 'static'\n\tlist ipaddr '127.0.0.1/8'\n\n"
        "config device\n\toption name 'br-lan'\n\toption type 'bridge'\n\tlist ports 'lan1'\n\tlist ports 'lan2'\n"
        "\tlist ports 'lan3'\n\tlist ports 'sfp-lan'\n\n"
        "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\tlist ipaddr '192.168.1.1/24'\n\n"
        "config interface 'wan'\n\toption device 'sfp-wan'\n\toption proto 'dhcp'\n"
    ),
    "dhcp": "config dnsmasq\n\toption domainneeded '1'\n\toption local '/lan/'\n",
    "firewall": "config defaults\n\toption input 'REJECT'\n\toption output 'ACCEPT'\n",
    "dropbear": "config dropbear\n\toption enable '1'\n\toption PasswordAuth 'on'\n\toption Port '22'\n",
}
USERS = (
    "root:x:0:0:root:/root:/bin/ash\ndaemon:*:1:1:daemon:/var:/bin/false\nnobody:*:65534:65534:nobody:/var:/bin/false\n"
)
GROUPS = "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n"
EXTRA_FILES = 200
EXTRA_BYTES = 16 << 10
# Files of an image are as old as its build, and each kind of image is built at another time.
BUILD_TIME = 1782640800
# What a firmware may do wrong when it runs (the word "init": its kernel finds no first program); the boot reads it.
FAULTS = "/usr/share/rig/faults"


def kernel_release() -> str:
    """Return the running kernel's release, which names the folder of the modules."""
    return os.uname().release


def write(root: Path, path: str, text: str | bytes, mode: int = 0o644) -> None:
    """Write a file of the tree, making the folders above it."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    place.chmod(mode)


def link(root: Path, path: str, target: str) -> None:
    """Make a symbolic link of the tree."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def put_program(root: Path, path: str, source: str | Path) -> None:
    """Copy a program into the tree."""
    write(root, path, Path(source).read_bytes(), 0o755)


def uses_apk(release: str) -> bool:
    """Tell whether this release's package manager is apk (since 25.12) and not opkg."""
    return not release.startswith("24.")


def add_busybox(root: Path, parts: dict[str, Path], shell: str) -> None:
    """Add BusyBox with every applet as a link, and the shell the test wants as ``/bin/sh``."""
    put_program(root, "/bin/busybox", parts["busybox"] / "bin/busybox")
    for path in (parts["busybox"] / "links").read_text().split():
        if path == "/bin/sh" and shell == "dash":
            put_program(root, path, parts["standins"] / "bin/launch")
        else:
            link(root, path, os.path.relpath("/bin/busybox", os.path.dirname(path)))


def add_programs(root: Path, parts: dict[str, Path], packages: Collection[str], release: str) -> None:
    """Add the stock commands that are not BusyBox's, and those of the packages."""
    more = {path for name, path in PROGRAMS_OF_PACKAGES.items() if name in packages}
    for path in sorted(STOCK_PROGRAMS | more):
        put_program(root, path, parts["standins"] / "bin/launch")
    put_program(root, "/usr/sbin/fw_printenv", parts["envtools"] / "bin/fw_printenv")
    link(root, "/usr/sbin/fw_setenv", "fw_printenv")
    put_program(root, "/sbin/uci", parts["standins"] / "bin/uci")
    put_program(root, "/usr/bin/fwtool", parts["standins"] / "bin/fwtool")
    if uses_apk(release):
        put_program(root, "/usr/bin/fit_check_sign", parts["standins"] / "bin/fit_check_sign")
    for name in UBI_PROGRAMS:
        put_program(root, f"/usr/sbin/{name}", parts["standins"] / "bin/ubi")
    commands = {
        "/sbin/logread": "logread",
        "/bin/ubus": "ubus",
        "/sbin/sysupgrade": "sysupgrade",
        "/usr/sbin/ubinfo": "ubinfo",
        "/sbin/mount.ubifs": "mount.ubifs",
        "/sbin/mtd": "mtd",
        "/sbin/insmod": "insmod",
        "/sbin/rmmod": "insmod",
    }
    commands["/usr/bin/apk" if uses_apk(release) else "/bin/opkg"] = "apk" if uses_apk(release) else "opkg"
    for name in ("install", "block", "stage2"):
        write(root, f"/usr/share/rig/{name}", (HERE / "standin" / name).read_bytes(), 0o755)
    if "block-mount" in packages:
        commands["/sbin/block"] = "block"
    if "mmc-utils" in packages:
        commands["/usr/bin/mmc"] = "mmc"
    for path, name in commands.items():
        write(root, path, (HERE / "standin" / name).read_bytes(), 0o755)


def make_pc(root: Path, parts: dict[str, Path]) -> None:
    """Put the tools of a Debian in place of BusyBox's, and take away what only a router has."""
    for path in sorted(root.rglob("*")):
        if path.name in NOT_ON_A_PC and path.parent.name in ("bin", "sbin"):
            path.unlink()
    for name in PC_PROGRAMS:
        for folder in ("bin", "sbin", "usr/bin", "usr/sbin"):
            (root / folder / name).unlink(missing_ok=True)
        put_program(root, f"/usr/bin/{name}", parts["standins"] / "bin/launch")
    (root / "etc/openwrt_release").unlink()


def add_package_records(root: Path, packages: Collection[str], release: str) -> None:
    """Write the records the package manager keeps of what is installed, and apk's list of what was asked for."""
    names = sorted({*STOCK_PACKAGES, *packages})
    if uses_apk(release):
        write(root, "/etc/apk/world", "".join(f"{name}\n" for name in names))
        write(root, "/lib/apk/db/installed", "".join(f"C:Q1\nP:{name}\nV:1-r1\n\n" for name in names))
    for name in names:
        if uses_apk(release):
            write(root, f"/lib/apk/packages/{name}.list", f"/usr/lib/{name}\n")
        else:
            write(
                root,
                f"/usr/lib/opkg/info/{name}.control",
                f"Package: {name}\nVersion: 1-r1\nStatus: install user installed\nArchitecture: aarch64_cortex-a53\n",
            )
            write(root, f"/usr/lib/opkg/info/{name}.list", f"/usr/lib/{name}\n")


def add_modules(root: Path, packages: Collection[str], kernel_nvme: str, kernel: str) -> None:
    """Write the kernel modules of kmod-nvme, unless the kernel has the driver built in, and a few others."""
    folder = f"/lib/modules/{kernel}"
    for name in ("nls_utf8", "pwm-fan", "sfp", "mt7996e"):
        write(root, f"{folder}/{name}.ko", name.encode() * 2000)
    if "kmod-mtd-rw" in packages:
        write(root, f"{folder}/mtd-rw.ko", b"mtd-rw" * 500)
    if "kmod-nvme" in packages and kernel_nvme == "module":
        for name in ("nvme", "nvme-core"):
            write(root, f"{folder}/{name}.ko", name.encode() * 3000)
        write(root, "/etc/modules-boot.d/30-nvme", "nvme-core\nnvme\n")
        link(root, "/etc/modules.d/30-nvme", "../modules-boot.d/30-nvme")


def add_identity(root: Path, release: str, board_name: str) -> None:
    """Write the files that say which release and which board this is."""
    write(
        root,
        "/etc/openwrt_release",
        f"DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='{release}'\nDISTRIB_REVISION='r32071-0000000000'\n"
        "DISTRIB_TARGET='mediatek/filogic'\nDISTRIB_ARCH='aarch64_cortex-a53'\n"
        f"DISTRIB_DESCRIPTION='OpenWrt {release} r32071-0000000000'\nDISTRIB_TAINTS=''\n",
    )
    write(
        root,
        "/etc/os-release",
        f'NAME="OpenWrt"\nVERSION="{release}"\nID="openwrt"\nOPENWRT_BOARD="mediatek/filogic"\n'
        f'OPENWRT_ARCH="aarch64_cortex-a53"\nOPENWRT_RELEASE="OpenWrt {release} r32071-0000000000"\n',
    )
    write(root, "/etc/board.json", f'{{"model": {{"id": "{board_name}", "name": "Banana Pi BPI-R4"}}}}\n')


def add_files(root: Path, fstools_overlay_name: bool, release: str) -> None:
    """Write the rest: configuration, boot scripts, users, and enough small files to make a tree."""
    for name, text in CONFIGS.items():
        more = "\toption compat_version '1.1'\n" if name == "system" and uses_apk(release) else ""
        write(root, f"/etc/config/{name}", text + more, 0o600 if name in ("dropbear", "network") else 0o644)
    write(root, "/etc/passwd", USERS)
    write(root, "/etc/group", GROUPS)
    write(root, "/etc/shadow", "root:::0:99999:7:::\nnobody:*:0:0:99999:7:::\n", 0o600)
    write(root, "/etc/profile", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n")
    write(root, "/etc/rc.local", "exit 0\n")
    write(root, "/etc/sysupgrade.conf", "## files and folders to keep over an upgrade, one in a line\n")
    write(root, "/lib/upgrade/keep.d/base-files", "/etc/config/\n/etc/passwd\n/etc/fw_env.config\n")
    write(root, "/sbin/init", "#!/bin/sh\n# stands for procd; process 1 of the bench is another program\n", 0o755)
    write(root, "/sbin/procd", "#!/bin/sh\n", 0o755)
    word = "fstools_overlay_name=" if fstools_overlay_name else "rootfs_data"
    write(root, "/sbin/mount_root", b"\x7fELF mount_root\0rootfs_data\0" + word.encode() + b"\0", 0o755)
    for name in ("boot", "dropbear", "fstab", "network", "system", "done"):
        write(root, f"/etc/init.d/{name}", "#!/bin/sh /etc/rc.common\nSTART=50\nstart() {\n\treturn 0\n}\n", 0o755)
        link(root, f"/etc/rc.d/S50{name}", f"../init.d/{name}")
    write(root, "/etc/rc.common", (HERE / "standin" / "rc.common").read_bytes(), 0o755)
    write(root, "/www/old/index.html", "<p>old</p>\n")
    write(root, "/www/index.html", "<p>OpenWrt</p>\n")
    for number in range(EXTRA_FILES):
        content = f"{number} ".encode() * (EXTRA_BYTES // (len(str(number)) + 1))
        write(root, f"/usr/share/rig/{number % 20:02}/file-{number}", content)
    link(root, "/var", "tmp")
    link(root, "/run", "/var/run")
    link(root, "/etc/resolv.conf", "/tmp/resolv.conf")
    link(root, "/etc/mtab", "/proc/mounts")
    link(root, "/etc/localtime", "/tmp/localtime")
    write(root, "/bin/su-like", "#!/bin/sh\n", 0o4755)


def fill(
    root: Path,
    parts: dict[str, Path],
    *,
    release: str,
    board_name: str,
    packages: Collection[str],
    kernel_nvme: str,
    shell: str,
    fstools_overlay_name: bool,
    kernel: str | None = None,
    modules: str | None = None,
    faults: Collection[str] = (),
    pc: bool = False,
) -> None:
    """Make the whole tree in the folder ``root``.

    ``modules`` is the release of the kernel that its modules are for, when that is not ``kernel``'s. ``faults`` are
    words for what does not work when it runs: ``lan``, ``wan``, ``dns``, ``ssh`` or ``init``.
    """
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    add_busybox(root, parts, shell)
    add_programs(root, parts, packages, release)
    add_package_records(root, packages, release)
    add_modules(root, packages, kernel_nvme, modules or kernel or kernel_release())
    add_identity(root, release, board_name)
    add_files(root, fstools_overlay_name, release)
    if faults:
        write(root, FAULTS, "".join(f"{word}\n" for word in faults))
    if pc:
        make_pc(root, parts)
    if "init" in faults:
        (root / "sbin/init").unlink()


def pack(root: Path, image: Path, time: int | None = None) -> None:
    """Make the squashfs ``image`` of the folder ``root``, and remove the folder; ``time`` is when that was."""
    then = [] if time is None else ["-mkfs-time", str(time), "-all-time", str(time)]
    command(["mksquashfs", root, image, "-comp", "gzip", "-b", "256k", "-all-root", "-no-progress", "-noappend", *then])
    shutil.rmtree(root)


def make_image(folder: Path, parts: dict[str, Path], **kind: Any) -> None:
    """Build ``folder/root.squashfs``."""
    fill(folder / "root", parts, **kind)
    time = BUILD_TIME + zlib.crc32(repr(sorted(kind.items())).encode()) % 1000000
    pack(folder / "root", folder / "root.squashfs", time)


def squashfs(parts: dict[str, Path], **kind: Any) -> Path:
    """Return the path of the read-only root image for this kind of router, building it when it is new."""
    pieces: list[str | Path] = [
        HERE / "tree.py",
        *sorted((HERE / "standin").iterdir()),
        repr(sorted(kind.items())),
        kernel_release(),
    ]
    key = digest_of(*pieces, *[str(folder) for folder in parts.values()])
    return cached("root", key, lambda folder: make_image(folder, parts, **kind)) / "root.squashfs"
