"""U-Boot for QEMU's virt machine, one build for each medium, from the upstream source with a few changed lines."""

import os
import re
import shutil
from pathlib import Path

from .. import debian
from ..cache import HERE as TESTS
from ..cache import BuildError, Part, command, digest_of, named, recipe_of
from .programs import CROSS

HERE = Path(__file__).resolve().parent / "uboot"
# Which of the two files with the environment's place belongs to a medium.
KINDS = {"nand": "nand", "emmc": "mmc", "sd": "mmc"}

# (file, line as it is, line as it becomes). Why:
# - the SD card and the eMMC are on PCI, and their environment is read before U-Boot looks at PCI;
# - QEMU's flash takes a buffered write of 2 KiB at most for two chips side by side, and none of a single word;
# - OpenWrt's "pstore check": is there a record of a crash?
CHANGES = (
    ("common/board_r.c", "#ifdef CONFIG_MMC\n\tinitr_mmc,\n", "\tpci_init,\n#ifdef CONFIG_MMC\n\tinitr_mmc,\n"),
    ("common/board_r.c", "#if defined(CONFIG_PCI_INIT_R) && !defined(CONFIG_SYS_EARLY_PCI_INIT)", "#if 0"),
    (
        "drivers/mtd/cfi_flash.c",
        "if (info->buffer_size == 1) {\n\t\t\tcword.w32 = 0;",
        (
            "if (cnt < 2 * info->portwidth || wp % buffered_size == buffered_size - info->portwidth) {\n"
            "\t\t\tcword.w32 = 0;"
        ),
    ),
    ("drivers/mtd/cfi_flash.c", "buffered_size = (info->portwidth / info->chipwidth);", "buffered_size = 1;"),
    (
        "cmd/pstore.c",
        "static struct cmd_tbl cmd_pstore_sub[] = {\n",
        """\
static int pstore_check(struct cmd_tbl *cmdtp, int flag, int argc, char * const argv[])
{
	phys_addr_t end = pstore_addr + pstore_length - pstore_pmsg_size - pstore_ftrace_size - pstore_console_size;
	char *record = malloc_cache_aligned(pstore_record_size);
	int result = CMD_RET_FAILURE;
	phys_addr_t at;
	bool compressed;

	for (at = pstore_addr; record && at < end; at += pstore_record_size)
		if (pstore_get_buffer(PERSISTENT_RAM_SIG, at, pstore_record_size, record) &&
		    pstore_read_kmsg_hdr(record, &compressed))
			result = CMD_RET_SUCCESS;
	free(record);
	return result;
}

static struct cmd_tbl cmd_pstore_sub[] = {
	U_BOOT_CMD_MKENT(check, 1, 0, pstore_check, "", ""),
""",  # noqa: E101 - U-Boot's own style
    ),
    ("board/emulation/qemu-arm/Makefile", "qemu-arm.o", "qemu-arm.o bpi_r4.o"),
)


def change(tree: Path) -> None:
    """Make the changes in a fresh U-Boot tree; :class:`BuildError` when a line is not there exactly once."""
    for name, old, new in CHANGES:
        path = tree / name
        text = path.read_text()
        if text.count(old) != 1:
            raise BuildError(f"{name}: {text.count(old)} times instead of once: {old}")
        path.write_text(text.replace(old, new))
    shutil.copy(HERE / "bpi_r4.c", tree / "board/emulation/qemu-arm")


def default_environment(medium: str) -> str:
    """Return the text of the environment that is compiled into the U-Boot of a medium."""
    lines = (TESTS / "env" / f"{medium}.env").read_text().splitlines()
    return "".join(f"{line}\n".replace("\\e", "\x1b") for line in lines if line and not line.startswith("#"))


def configure(make: list[str | Path], build: Path, medium: str) -> None:
    """Configure the build for a medium; :class:`BuildError` for an option that was not taken."""
    (build / "default.env").write_text(default_environment(medium))
    command([*make, "qemu_arm64_defconfig"])
    options = (HERE / "common.config").read_text() + (HERE / f"{KINDS[medium]}.config").read_text()
    options = options.replace('"default.env"', f'"{build}/default.env"')
    with open(build / ".config", "a") as config:
        config.write(options)
    command([*make, "olddefconfig"])
    got = (build / ".config").read_text()
    lost = [line for line in options.splitlines() if line.startswith("CONFIG_") and f"\n{line}\n" not in got]
    lost += [line for line in re.findall(r"^# (CONFIG_\w+) is not set$", options, re.MULTILINE) if f"\n{line}=" in got]
    if lost:
        raise BuildError(f"U-Boot's configuration did not take these lines: {' '.join(lost)}")


def make_uboot(folder: Path) -> None:
    """Build ``nand.bin``, ``emmc.bin`` and ``sd.bin``; the second and third only compile what differs."""
    tree = debian.source_tree(debian.UBOOT, folder)
    change(tree)
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
        f"CROSS_COMPILE={CROSS}",
        "SOURCE_DATE_EPOCH=1767225600",
    ]
    for medium in KINDS:
        configure(make, build, medium)
        command([*make, f"-j{os.cpu_count()}", "u-boot.bin"])
        shutil.copy(build / "u-boot.bin", folder / f"{medium}.bin")
    shutil.rmtree(build)
    shutil.rmtree(tree)


PART = Part(
    "uboot-arm64",
    make_uboot,
    lambda: digest_of(
        recipe_of(make_uboot, configure, change, default_environment),
        debian.source_key(debian.UBOOT),
        repr(CHANGES),
        *named([*sorted(HERE.iterdir()), *sorted((TESTS / "env").glob("*.env"))]),
    ),
)
