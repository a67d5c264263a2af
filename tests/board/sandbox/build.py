"""Build the three U-Boots, once: one source tree, one whole build, and for each medium what its own lines change.

The part ``uboot`` has ``nand/u-boot``, ``emmc/u-boot`` and ``sd/u-boot``, beside each ``board.dtb`` and ``held.dtb``
(the board with its button held), and ``bin`` with the ``dtc`` and ``mkimage`` of the same source.
"""

import os
import re
import shutil
from pathlib import Path

from .. import images
from ..cache import BuildError, Part, Report, build_parts, command, digest_of, named, recipe_of, silent
from ..debian import UBOOT as UBOOT_SOURCE
from ..debian import install, source_key, source_tree
from . import source
from .source import HERE

MEDIA = {"nand": "nand", "emmc": "mmc", "sd": "mmc"}  # the file with the lines of a medium's own
# The line's pull-up resistor, and on top of it a low level that says "held": see board.dts.
BUTTON = {"board": "17", "held": "1"}
APT_PACKAGES = [
    "gcc",
    "make",
    "bison",
    "flex",
    "bc",
    "bzip2",
    "libssl-dev",
    "swig",
    "python3-dev",
    "python3-setuptools",
    "xxd",
    "mtd-utils",
    "fdisk",
    "strace",
]
MAKE = ["make", f"-j{os.cpu_count()}", "NO_SDL=1"]


def options(medium: str) -> str:
    """Return the configuration of a medium's U-Boot as text."""
    return (HERE / "common.config").read_text() + (HERE / f"{MEDIA[medium]}.config").read_text()


def configure(tree: Path, medium: str) -> None:
    """Configure the tree for a medium; :class:`BuildError` when a line of the configuration was not taken."""
    wanted = options(medium)
    (tree / "configs/bench_defconfig").write_text(wanted)
    environment = images.compiled_env(medium)
    (tree / "default.env").write_text("".join(f"{name}={value}\n" for name, value in sorted(environment.items())))
    command(["make", "NO_SDL=1", "bench_defconfig"], tree)
    got = (tree / ".config").read_text().splitlines()
    off = {line for line in wanted.splitlines() if re.match("# CONFIG_\\w+ is not set$", line)}
    lost = [line for line in wanted.splitlines() if line.startswith("CONFIG_") and line not in got]
    lost += [line for line in off if line.split()[1] + "=y" in got]
    if lost:
        raise BuildError(f"U-Boot's configuration did not take these lines: {', '.join(lost)}")


def make_trees(tree: Path, medium: str, folder: Path) -> None:
    """Compile the two device trees of a medium into ``folder``."""
    storage = (HERE / f"{MEDIA[medium]}.dtsi").read_text()
    for name, flags in BUTTON.items():
        text = (HERE / "board.dts").read_text().replace("@BUTTON@", flags).replace("@STORAGE@", storage)
        (tree / "bench.dts").write_text(text)
        command([tree / "scripts/dtc/dtc", "-q", "-o", folder / f"{name}.dtb", tree / "bench.dts"])


def make_uboot(folder: Path) -> None:
    """Build the part ``uboot`` into ``folder``."""
    tree = source_tree(UBOOT_SOURCE, folder)
    source.apply(tree)
    for medium in MEDIA:
        configure(tree, medium)
        command([*MAKE, "u-boot", "tools"], tree)
        (folder / medium).mkdir()
        command(["strip", "-o", folder / medium / "u-boot", tree / "u-boot"])
        make_trees(tree, medium, folder / medium)
    (folder / "bin").mkdir()
    for name in ("scripts/dtc/dtc", "tools/mkimage"):
        shutil.copy(tree / name, folder / "bin")
    shutil.rmtree(tree)


def inputs() -> list[Path]:
    """Return the files that the U-Boots are made of."""
    files = [path for path in HERE.iterdir() if path.suffix in (".c", ".config", ".dts", ".dtsi")]
    return sorted([*files, HERE / "source.py", *(HERE.parent / "env").glob("*.env")])


def key() -> str:
    """Return a text that changes with everything that goes into the part."""
    recipe = recipe_of(make_uboot, configure, options, make_trees) + source_key(UBOOT_SOURCE)
    return digest_of(recipe, repr((MEDIA, BUTTON)), *named(inputs()))


UBOOT = Part("uboot", make_uboot, key)


def build(report: Report = silent) -> dict[str, Path]:
    """Build or find the three U-Boots, with the packages they need, and return ``{"uboot": folder}``."""
    install(APT_PACKAGES)
    return build_parts([UBOOT], report)
