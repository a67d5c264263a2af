"""The programs of the board in QEMU, built or fetched once into the cache.

``qemu``
    QEMU from Debian's backports for trixie with all its libraries, because its eMMC can be put on a board and has
    hardware boot partitions; it runs with its own loader, whatever system this is.
``debian-arm64``
    Debian's arm64 programs, libraries, and musl, unpacked.
``busybox-arm64``, ``standins-arm64``, ``envtools-arm64``
    What the private root has, for arm64, static with musl. The environment tool is U-Boot's, unchanged.
``hidden-arm64``
    The real programs that the guest runs as they are, with their libraries: becomes /.rig of the guest.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from .. import debian, parts
from ..cache import HERE as TESTS
from ..cache import BuildError, Part, cached, command, digest_of, named, recipe_of

CROSS = "aarch64-linux-gnu-"
APT_PACKAGES = (
    "gcc-aarch64-linux-gnu libc6-dev-arm64-cross device-tree-compiler u-boot-tools mtd-utils libelf-dev xz-utils cpio"
).split()
QEMU_SUITE = "trixie-backports"
MACHINE = "virt,gic-version=3,acpi=off"
ARM64_PACKAGES = "dash e2fsprogs f2fs-tools fdisk kmod libc6 linux-libc-dev mtd-utils musl-dev util-linux".split()
LOADER = "lib/ld-linux-aarch64.so.1"

# Where Debian has each program, and the names the guest knows it by.
REAL_PROGRAMS = {
    "sbin/mke2fs": ("mke2fs",),
    "sbin/e2fsck": ("e2fsck",),
    "sbin/mkfs.f2fs": ("mkfs.f2fs",),
    "sbin/fsck.f2fs": ("fsck.f2fs",),
    "sbin/sfdisk": ("sfdisk",),
    "sbin/blkid": ("blkid",),
    "bin/dash": ("dash",),
    "bin/kmod": ("insmod", "rmmod", "lsmod"),
    "usr/sbin/ubinfo": ("ubinfo",),
    "usr/sbin/ubiupdatevol": ("ubiupdatevol",),
    "usr/sbin/ubimkvol": ("ubimkvol",),
    "usr/sbin/ubirmvol": ("ubirmvol",),
    "usr/sbin/ubirename": ("ubirename",),
}


def make_qemu(folder: Path) -> None:
    """Fetch QEMU and everything it needs."""
    version = debian.unpack(["qemu-system-arm"], folder, suite=QEMU_SUITE, dependencies=True)
    (folder / "version").write_text(version + "\n")


def qemu_command(folder: Path) -> list[Path | str]:
    """Return the first words of a command line that runs the QEMU of this part."""
    usr = folder / "usr"
    libraries = usr / "lib/x86_64-linux-gnu"
    return [
        libraries / "ld-linux-x86-64.so.2",
        "--library-path",
        f"{libraries}:{libraries}/systemd",
        usr / "bin/qemu-system-aarch64",
        "-L",
        usr / "share/qemu",
    ]


def make_debian(folder: Path) -> None:
    """Fetch Debian's arm64 programs and libraries."""
    version = debian.unpack(ARM64_PACKAGES, folder, architecture="arm64", dependencies=True)
    (folder / "version").write_text(version + "\n")


DEBIAN = Part(
    "debian-arm64",
    make_debian,
    lambda: digest_of(recipe_of(make_debian, debian.unpack), repr(ARM64_PACKAGES)),
)


def debian_folder() -> Path:
    """Return the unpacked Debian arm64 tree, fetching it when it is new."""
    return cached(DEBIAN.name, DEBIAN.key(), DEBIAN.make)


def arm64_compiler(folder: Path) -> str:
    """Return a compiler command for static arm64 programs with musl.

    Debian's specs for musl name places on a system; here they name the places in the unpacked tree.
    """
    system = debian_folder()
    specs = (system / "usr/lib/aarch64-linux-musl/musl-gcc.specs").read_text()
    changed = re.sub(r"/usr/(lib|include)/aarch64-linux-musl", rf"{system}/usr/\1/aarch64-linux-musl", specs)
    (folder / "musl.specs").write_text(changed)
    headers = system / "usr/include"
    return (
        f"{CROSS}gcc -specs={folder}/musl.specs -static -no-pie -fno-pie -idirafter {headers} "
        f"-idirafter {headers}/aarch64-linux-gnu"
    )


def make_busybox(folder: Path) -> None:
    """Build BusyBox for arm64.

    BusyBox 1.37.0 compares with a function that only x86 has; it must differ from all others, as no function does.
    """
    parts.make_busybox(
        folder,
        arm64_compiler,
        (f"CROSS_COMPILE={CROSS}", "ARCH=arm64", "EXTRA_CFLAGS=-Dsha1_process_block64_shaNI=NULL"),
    )


def make_standins(folder: Path) -> None:
    """Build the private root's stand-ins for arm64."""
    parts.make_standins(folder, arm64_compiler)


def make_envtools(folder: Path) -> None:
    """Build U-Boot's fw_printenv, unchanged."""
    tree = debian.source_tree(debian.UBOOT, folder)
    command(["make", "tools-only_defconfig"], tree)
    command(
        [
            "make",
            f"-j{os.cpu_count()}",
            f"CROSS_COMPILE={CROSS}",
            f"CC={arm64_compiler(folder)}",
            "HOSTCC=gcc",
            "CROSS_BUILD_TOOLS=1",
            "envtools",
        ],
        tree,
    )
    (folder / "bin").mkdir()
    shutil.copy(tree / "tools/env/fw_printenv", folder / "bin/fw_printenv")
    shutil.rmtree(tree)


def needed(program: Path) -> list[str]:
    """Return the names of the shared libraries that a program or library asks for."""
    listing = command(["readelf", "-d", program])
    return re.findall(r"\(NEEDED\).*\[(.+)\]", listing)


def copy_libraries(system: Path, program: Path, folder: Path) -> None:
    """Copy the libraries that a program needs, and those that they need, into ``folder``."""
    for name in needed(program):
        if name.startswith("ld-linux") or (folder / name).exists():
            continue
        found = [
            path
            for path in (system / "lib/aarch64-linux-gnu" / name, system / "usr/lib/aarch64-linux-gnu" / name)
            if path.exists()
        ]
        if not found:
            raise BuildError(f"{program} needs {name}, which no fetched package has")
        shutil.copy(found[0], folder / name)
        copy_libraries(system, found[0], folder)


def make_hidden(folder: Path) -> None:
    """Copy the real programs and their libraries into ``folder/{bin,lib}``; the loader is ``ld.so``."""
    system = debian_folder()
    (folder / "bin").mkdir()
    (folder / "lib").mkdir()
    for place, names in REAL_PROGRAMS.items():
        for name in names:
            shutil.copy(system / place, folder / "bin" / name)
        copy_libraries(system, system / place, folder / "lib")
    shutil.copy(system / LOADER, folder / "ld.so")
    shutil.copy(system / "version", folder / "version")


def debian_key() -> str:
    """Return what belongs to the key of everything that is made of the arm64 tree: which versions were taken."""
    return DEBIAN.key() + (debian_folder() / "version").read_text()


def recipe(make: Callable[[Path], None], *sources: debian.Source) -> str:
    """Return what belongs to the key of every part that is compiled for arm64."""
    return recipe_of(make, arm64_compiler) + debian_key() + "".join(debian.source_key(one) for one in sources)


PARTS = (
    Part("qemu", make_qemu, lambda: digest_of(recipe_of(make_qemu, debian.unpack), QEMU_SUITE)),
    DEBIAN,
    Part(
        "busybox-arm64",
        make_busybox,
        lambda: digest_of(
            recipe(make_busybox, debian.BUSYBOX), recipe_of(parts.make_busybox), TESTS / "busybox.config"
        ),
    ),
    Part(
        "standins-arm64",
        make_standins,
        lambda: digest_of(recipe(make_standins), recipe_of(parts.make_standins), *named(parts.standin_sources())),
    ),
    Part("envtools-arm64", make_envtools, lambda: digest_of(recipe(make_envtools, debian.UBOOT))),
    Part(
        "hidden-arm64",
        make_hidden,
        lambda: digest_of(recipe_of(make_hidden, copy_libraries, needed), repr(REAL_PROGRAMS), debian_key()),
    ),
)
