"""Build the programs of the private router root, once, into a cache.

Four parts are made, each in a folder of its own named after everything that goes into it:

``busybox``
    BusyBox from Debian's copy of the upstream archive, with the options of :file:`busybox.config`, static with musl.
``envtools``
    U-Boot's own ``fw_printenv``, static with musl.
``standins``
    The C programs of :file:`standin/`, static with musl.
``hidden``
    The real programs of this Debian system that the router needs (``sfdisk``, ``mke2fs`` and so on) with their
    shared libraries: a small tree that the router root has at ``/.rig``.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import debian
from .cache import (
    HERE,
    SEARCH_PATH,
    BuildError,
    Part,
    Report,
    build_parts,
    command,
    digest_of,
    named,
    recipe_of,
    silent,
)
from .debian import BUSYBOX, UBOOT, Source, source_key, source_tree

# Debian packages that the build or the running root needs, installed when missing.
APT_PACKAGES = (
    "fdisk f2fs-tools e2fsprogs squashfs-tools musl-tools gcc make bison flex bc bzip2 libssl-dev swig python3-dev "
    "python3-setuptools libgnutls28-dev uuid-dev dpkg-dev util-linux dash mount debian-archive-keyring dropbear-bin"
).split()

# What a PC has of its own where the router has BusyBox.
PC_PROGRAMS = (
    "awk bash cat chmod cmp cp cut date dd df du find flock grep gzip head ls mkdir mktemp mount mv readlink rm sed "
    "sha256sum sleep sort sync tail tar touch tr umount wc"
).split()

# Debian programs that the router root runs as they are, and the name each has in the hidden tree.
REAL_PROGRAMS = {
    "mke2fs": "mke2fs",
    "e2fsck": "e2fsck",
    "mkfs.f2fs": "mkfs.f2fs",
    "fsck.f2fs": "fsck.f2fs",
    "sfdisk": "sfdisk",
    "partx": "partx",
    "blkid": "blkid",
    "dash": "dash",
    "ssh": "dbclient",
    "awk": "mawk",
    **{name: name for name in PC_PROGRAMS if name != "awk"},
}


Compiler = Callable[[Path], str]
"""Gives the compiler command, and may put what that needs into the folder."""


def musl_compiler(folder: Path) -> str:
    """Return a compiler command for static programs, with the kernel's headers that musl itself does not bring."""
    headers = folder / "headers"
    headers.mkdir()
    machine = command(["gcc", "-print-multiarch"]).strip()
    for name in ("linux", "asm-generic", "mtd"):
        (headers / name).symlink_to(f"/usr/include/{name}")
    (headers / "asm").symlink_to(f"/usr/include/{machine}/asm")
    return f"musl-gcc -static -idirafter {headers}"


def option_names() -> list[str]:
    """Return the BusyBox option names listed in :file:`busybox.config`."""
    lines = (HERE / "busybox.config").read_text().split("\n")
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def change(path: Path, old: str, new: str) -> None:
    """Change a text of a source file that must be there exactly once."""
    text = path.read_text()
    if text.count(old) != 1:
        raise BuildError(f"{path.name}: not found once: {old}")
    path.write_text(text.replace(old, new))


def make_busybox(folder: Path, compiler: Compiler = musl_compiler, variables: Sequence[str] = ()) -> None:
    """Build BusyBox into ``folder/bin/busybox`` and the applets' paths into ``folder/links``.

    ``compiler(folder)`` gives the compiler command; ``variables`` are more words for make, for another architecture.
    One line is added: where there is a file /.rig/kernel, ``uname -r`` says what stands in it.
    """
    tree = source_tree(BUSYBOX, folder)
    change(
        tree / "coreutils/uname.c",
        "uname(&uname_info.name); /* never fails */",
        'uname(&uname_info.name);\n\topen_read_close("/.rig/kernel", uname_info.name.release,'
        " sizeof(uname_info.name.release) - 1);",
    )
    names = [*option_names(), "STATIC"]
    command(["make", "allyesconfig"], tree)
    config = tree / ".config"
    line = re.compile(r"^(?:# )?CONFIG_(\w+)(?:=y| is not set)$", re.MULTILINE)
    config.write_text(
        line.sub(
            lambda at: f"CONFIG_{at[1]}=y" if at[1] in names else f"# CONFIG_{at[1]} is not set", config.read_text()
        )
    )
    command(["sh", "-c", "yes '' | make oldconfig"], tree)
    got = set(re.findall(r"^CONFIG_(\w+)=y$", config.read_text(), re.MULTILINE))
    lost = [name for name in names if name not in got]
    if lost:
        raise BuildError(f"BusyBox's configuration did not take these options: {' '.join(lost)}")
    command(["make", f"-j{os.cpu_count()}", f"CC={compiler(folder)}", *variables, "busybox", "busybox.links"], tree)
    (folder / "bin").mkdir()
    shutil.copy(tree / "busybox", folder / "bin/busybox")
    shutil.copy(tree / "busybox.links", folder / "links")
    shutil.rmtree(tree)


def make_envtools(folder: Path) -> None:
    """Build U-Boot's ``fw_printenv`` into ``folder/bin/fw_printenv``.

    One line is changed: the tool takes every path that starts with ``/dev/ubi`` for a UBI volume and then wants
    UBI's own calls, which the loop devices that stand for the two volumes here do not have.
    """
    tree = source_tree(UBOOT, folder)
    source = tree / "tools/env/fw_env.c"
    text = source.read_text()
    changed = text.replace('#define UBI_DEV_START "/dev/ubi"', '#define UBI_DEV_START "/dev/no-ubi"')
    if changed == text:
        raise BuildError("fw_env.c: the line that names /dev/ubi was not found")
    source.write_text(changed)
    command(["make", "tools-only_defconfig"], tree)
    command(
        ["make", f"-j{os.cpu_count()}", f"CC={musl_compiler(folder)}", "HOSTCC=gcc", "CROSS_BUILD_TOOLS=1", "envtools"],
        tree,
    )
    (folder / "bin").mkdir()
    shutil.copy(tree / "tools/env/fw_printenv", folder / "bin/fw_printenv")
    shutil.rmtree(tree)


def standin_sources() -> list[Path]:
    """Return the C sources of the stand-ins."""
    return sorted((HERE / "standin").glob("*.c"))


def make_standins(folder: Path, compiler: Compiler = musl_compiler) -> None:
    """Compile every stand-in into ``folder/bin`` with the compiler command that ``compiler(folder)`` gives."""
    (folder / "bin").mkdir()
    words = compiler(folder).split()
    for source in standin_sources():
        command([*words, "-Os", "-Wall", "-Wextra", "-Werror", "-o", folder / "bin" / source.stem, source])
    (folder / "version").write_text(f"{len(standin_sources())} programs\n")


def real_program(name: str) -> Path:
    """Return the path of a real program of this system."""
    found = shutil.which(name, path=SEARCH_PATH)
    if not found:
        raise BuildError(f"{name} is not installed")
    return Path(found)


def make_hidden(folder: Path) -> None:
    """Copy the real programs and the shared libraries they load into ``folder/{bin,lib}``; the loader is ``ld.so``."""
    (folder / "bin").mkdir()
    (folder / "lib").mkdir()
    for target, name in REAL_PROGRAMS.items():
        path = real_program(name)
        shutil.copy(path, folder / "bin" / target)
        for library in re.findall(r"(/\S+) \(0x", command(["ldd", path])):
            target_name = "ld.so" if "/ld-linux" in library else Path("lib") / Path(library).name
            shutil.copy(library, folder / target_name)
    (folder / "version").write_text(installed_versions() + "\n")


def installed_versions() -> str:
    """Return the versions of the Debian packages that the hidden tree is copied from, as one line."""
    names = ["dash", "dropbear-bin", "e2fsprogs", "f2fs-tools", "fdisk", "libc6", "util-linux"]
    return command(["dpkg-query", "-W", "-f=${Package} ${Version}, ", *names]).strip(", ")


def recipe(make: Callable[[Path], None], *sources: Source) -> str:
    """Return what belongs to the key of every part that is compiled here."""
    return recipe_of(make, musl_compiler) + "".join(source_key(source) for source in sources)


PARTS = (
    Part(
        "busybox",
        make_busybox,
        lambda: digest_of(recipe(make_busybox, BUSYBOX), recipe_of(change), HERE / "busybox.config"),
    ),
    Part("envtools", make_envtools, lambda: digest_of(recipe(make_envtools, UBOOT))),
    Part("standins", make_standins, lambda: digest_of(recipe(make_standins), *named(standin_sources()))),
    Part("hidden", make_hidden, lambda: digest_of(recipe_of(make_hidden), repr(REAL_PROGRAMS), installed_versions())),
)


def build(report: Report = silent) -> dict[str, Path]:
    """Build or find every part and return ``{name: folder}``; ``report`` gets one line for each with its seconds."""
    start = time.monotonic()
    installed = debian.install(APT_PACKAGES)
    report(f"{'packages':14} {time.monotonic() - start:6.1f} s  {installed}")
    return build_parts(PARTS, report)
