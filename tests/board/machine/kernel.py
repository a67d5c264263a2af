"""The kernel of the board in QEMU: Linux 6.12 from Debian's source, small, with our driver for the root in a FIT image.

Two kernels come from one tree: ``Image-module.gz`` with NVMe as modules (``modules/``), as OpenWrt builds it, and
``Image-builtin.gz`` with the driver built in, as a firmware of one's own has it. ``release`` is the kernel's release.
The module ``hang`` makes a kernel stand still.
"""

import os
import re
import shutil
from pathlib import Path

from .. import debian
from ..cache import BuildError, Part, command, digest_of, recipe_of
from .programs import CROSS

HERE = Path(__file__).resolve().parent
NVME = "CONFIG_BLK_DEV_NVME=m"
SOURCES = ("fitblk.c", "hang.c")
DRIVER_OPTION = """\
config UIMAGE_FIT_BLK
	bool "Root in a FIT image"
	depends on OF
	select LIBFDT

"""

# QEMU's flash takes a buffered write of 2 KiB at most for two chips side by side, and none of a single word. Each is
# (text as it is, how often, text as it becomes) in the flash driver.
FLASH_DRIVER = "drivers/mtd/chips/cfi_cmdset_0001.c"
FLASH_CHANGES = (
    ("cfi_interleave(cfi) << cfi->cfiq->MaxBufWriteSize", 3, "1 << cfi->cfiq->MaxBufWriteSize"),
    (
        "\tint initial_len = len;\n\n",
        1,
        """\tint initial_len = len;

	word_gap = adr & (map_bankwidth(map) - 1);
	if (word_gap + len <= map_bankwidth(map)) {
		datum = map_word_load_partial(map, map_word_ff(map), (*pvec)->iov_base + *pvec_seek, word_gap, len);
		*pvec_seek += len;
		if (*pvec_seek == (*pvec)->iov_len) {
			(*pvec)++;
			*pvec_seek = 0;
		}
		return do_write_oneword(map, chip, adr - word_gap, datum, FL_WRITING);
	}

""",
    ),
)


def change_flash_driver(tree: Path) -> None:
    """Make the flash driver agree with QEMU's flash; :class:`BuildError` when it does not look as expected."""
    text = (tree / FLASH_DRIVER).read_text()
    for old, times, new in FLASH_CHANGES:
        if text.count(old) != times:
            raise BuildError(f"{FLASH_DRIVER}: {text.count(old)} times instead of {times}: {old}")
        text = text.replace(old, new)
    (tree / FLASH_DRIVER).write_text(text)


def add_driver(tree: Path) -> None:
    """Put our driver and the module that hangs into the kernel's tree."""
    folder = tree / "drivers/block"
    for name in SOURCES:
        shutil.copy(HERE / name, folder)
    options = (folder / "Kconfig").read_text()
    marker = "config BLK_DEV_LOOP\n"
    if options.count(marker) != 1:
        raise BuildError("drivers/block/Kconfig: the place for the driver was not found")
    (folder / "Kconfig").write_text(options.replace(marker, DRIVER_OPTION + marker))
    with open(folder / "Makefile", "a") as rules:
        rules.write("obj-$(CONFIG_UIMAGE_FIT_BLK) += fitblk.o\nobj-m += hang.o\n")


def configure(make: list[str | Path], build: Path, tiny: str, options: str) -> None:
    """Make the configuration of ``tiny`` and ``options``; :class:`BuildError` for an option that was not taken."""
    (build / ".config").write_text(tiny + options)
    command([*make, "olddefconfig"])
    got = (build / ".config").read_text()
    wanted = [line for line in options.splitlines() if re.match(r"CONFIG_\w+=[ym]$", line)]
    lost = [line for line in wanted if f"\n{line}\n" not in got]
    if lost:
        raise BuildError(f"the kernel's configuration did not take these lines: {' '.join(lost)}")


def make_kernel(folder: Path) -> None:
    """Build both kernels and the modules."""
    tree = debian.source_tree(debian.LINUX, folder)
    add_driver(tree)
    change_flash_driver(tree)
    build = folder / "build"
    build.mkdir()
    make: list[str | Path] = [
        "nice",
        "-n",
        "5",
        "make",
        "-C",
        tree,
        f"O={build}",
        "ARCH=arm64",
        f"CROSS_COMPILE={CROSS}",
        "KBUILD_BUILD_USER=bench",
        "KBUILD_BUILD_HOST=bench",
        "KBUILD_BUILD_TIMESTAMP=2026-01-01",
    ]
    options = (HERE / "kernel.config").read_text()
    modules = folder / "modules"
    modules.mkdir()
    command([*make, "tinyconfig"])
    tiny = (build / ".config").read_text()
    for kind, text in (("module", options), ("builtin", options.replace(NVME, NVME[:-1] + "y"))):
        configure(make, build, tiny, text)
        command([*make, f"-j{os.cpu_count()}", "Image", "modules"])
        shutil.copy(build / "arch/arm64/boot/Image", folder / f"Image-{kind}")
        command(["gzip", "-9", "-n", folder / f"Image-{kind}"])
        if kind == "module":
            for module in build.rglob("*.ko"):
                shutil.copy(module, modules / module.name)
    shutil.copy(build / "include/config/kernel.release", folder / "release")
    shutil.rmtree(build)
    shutil.rmtree(tree)


PART = Part(
    "kernel-arm64",
    make_kernel,
    lambda: digest_of(
        recipe_of(make_kernel, configure, add_driver, change_flash_driver),
        debian.source_key(debian.LINUX),
        DRIVER_OPTION,
        repr(FLASH_CHANGES),
        HERE / "kernel.config",
        *[HERE / name for name in SOURCES],
    ),
)
