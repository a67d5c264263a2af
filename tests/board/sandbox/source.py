"""What is changed in U-Boot's source before the sandbox is built: exact replacements that must be found.

Each :class:`Change` says why it is there. Most of them are one line that calls into :file:`bench.c`. A text that is not
found exactly once raises :class:`~board.cache.BuildError`, so another U-Boot cannot be built half-changed.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..cache import BuildError

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Change:
    """In ``path``, the text ``old``, which is there exactly once, becomes ``new``; ``why`` says what for."""

    path: str
    why: str
    old: str
    new: str


CHANGES = (
    Change(
        "board/sandbox/sandbox.c",
        "the environment is where the board's is",
        "\tENVL_NOWHERE,\n\tENVL_EXT4,\n\tENVL_FAT,\n",
        "#ifdef CONFIG_ENV_IS_IN_UBI\n\tENVL_UBI,\n#else\n\tENVL_MMC,\n#endif\n",
    ),
    Change(
        "board/sandbox/sandbox.c",
        "what the board does late: the crash record is in RAM, the button is looked at",
        "int board_late_init(void)\n{\n\tstruct udevice *dev;\n",
        "int board_late_init(void)\n{\n\textern void bench_late_init(void);\n\tstruct udevice *dev;\n",
    ),
    Change(
        "board/sandbox/sandbox.c",
        "the same",
        "\tret = uclass_first_device_err(UCLASS_CROS_EC, &dev);\n",
        "\tbench_late_init();\n\treturn 0;\n\tret = uclass_first_device_err(UCLASS_CROS_EC, &dev);\n",
    ),
    Change(
        "arch/sandbox/lib/bootm.c",
        "a kernel that is started does not come back",
        '\t\tprintf("sandbox: continuing, as we cannot run Linux\\n");\n',
        "\t\t{ extern void bench_hand_over(struct bootm_headers *images); bench_hand_over(images); }\n",
    ),
    Change(
        "arch/sandbox/cpu/start.c",
        "a reset ends the process",
        "void sandbox_reset(void)\n{\n",
        "void sandbox_reset(void)\n{\n\textern void bench_reset(void);\n\n\tbench_reset();\n",
    ),
    Change(
        "arch/sandbox/cpu/start.c",
        "fresh memory of a process is zero already: touching all of it takes a second",
        "\t\tmemset(state->ram_buf, '\\0', state->ram_size);\n",
        "\t\t;\n",
    ),
    Change(
        "arch/sandbox/cpu/cpu.c",
        "waiting moves the clock and takes no time",
        "\tif (!state->skip_delays)\n\t\tos_usleep(usec);\n",
        "\t{ extern void bench_delay(unsigned long usec); if (!state->skip_delays) bench_delay(usec); }\n",
    ),
    Change("drivers/serial/sandbox.c", "looking for a key takes no time", "\tos_usleep(100);\n", ""),
    Change(
        "drivers/serial/sandbox.c",
        "who waits for a key when all are typed is told",
        "\tcount = os_read(0, data, avail);\n",
        "\tcount = os_read(0, data, avail);\n"
        "\t{ extern void bench_keys(int ended); bench_keys(!count && !membuff_avail(&priv->buf)); }\n",
    ),
    Change(
        "drivers/mmc/sandbox_mmc.c",
        "writes are recorded",
        "\tcase MMC_CMD_WRITE_MULTIPLE_BLOCK:\n",
        "\tcase MMC_CMD_WRITE_MULTIPLE_BLOCK:\n"
        "\t\t{ extern void bench_record(char kind, u64 place, const void *data, unsigned int length);\n"
        "\t\tbench_record('w', (u64)cmd->cmdarg * data->blocksize, data->src,\n"
        "\t\t\t     data->blocks * data->blocksize); }\n",
    ),
    Change(
        "drivers/mtd/nand/raw/sand_nand.c",
        "the flash is a file that stays, and knows which pages are erased",
        "enum sand_nand_state {\n",
        "extern int bench_nand_open(off_t size);\n"
        "extern int bench_nand_read(int fd, u32 page, void *data, u32 length);\n"
        "extern int bench_nand_program(int fd, u32 page, const void *data, u32 length);\n"
        "extern int bench_nand_erase(int fd, u32 page, u32 pages, u32 length);\n\n"
        "enum sand_nand_state {\n",
    ),
    Change(
        "drivers/mtd/nand/raw/sand_nand.c",
        "the same",
        "\tif (test_bit(chip->page_addr, chip->programmed)) {\n"
        "\t\tif (sand_nand_seek(chip))\n\t\t\treturn -EIO;\n\n"
        "\t\tif (os_read(chip->fd, chip->tmp, chip->chunksize) !=\n\t\t    chip->chunksize) {\n"
        '\t\t\tSAND_DEBUG(chip, "could not read: %d\\n", errno);\n\t\t\treturn -EIO;\n\t\t}\n'
        "\t\tchip->fd_page_addr++;\n"
        "\t} else if (chip->tmp_dirty) {\n"
        "\t\tmemset(chip->tmp + chip->column, 0xff,\n\t\t       chip->chunksize - chip->column);\n\t}\n",
        "\tif (bench_nand_read(chip->fd, chip->page_addr, chip->tmp, chip->chunksize))\n\t\treturn -EIO;\n",
    ),
    Change(
        "drivers/mtd/nand/raw/sand_nand.c",
        "the same",
        "\t\tif (command != NAND_CMD_PAGEPROG ||\n\t\t    test_and_set_bit(chip->page_addr, chip->programmed)) {\n",
        "\t\tif (command != NAND_CMD_PAGEPROG) {\n",
    ),
    Change(
        "drivers/mtd/nand/raw/sand_nand.c",
        "the same",
        "\t\tif (sand_nand_seek(chip)) {\n\t\t\tchip->status |= NAND_STATUS_FAIL;\n\t\t\tbreak;\n\t\t}\n\n"
        "\t\tif (os_write(chip->fd, chip->tmp, chip->chunksize) !=\n\t\t    chip->chunksize) {\n",
        "\t\tif (bench_nand_program(chip->fd, chip->page_addr, chip->tmp, chip->chunksize)) {\n",
    ),
    Change(
        "drivers/mtd/nand/raw/sand_nand.c",
        "the same",
        "\t\telse\n\t\t\tbitmap_clear(chip->programmed, chip->page_addr,\n\t\t\t\t     chip->pages_per_erase);\n",
        "\t\telse if (bench_nand_erase(chip->fd, chip->page_addr, chip->pages_per_erase, chip->chunksize))\n"
        "\t\t\tchip->status |= NAND_STATUS_FAIL;\n",
    ),
    Change(
        "drivers/mtd/nand/raw/sand_nand.c",
        "the same",
        "\t\tchip->fd = os_mktemp(filename, expected_size);\n",
        "\t\tchip->fd = bench_nand_open(expected_size);\n",
    ),
    Change(
        "drivers/mtd/nand/raw/sand_nand.c",
        "the same",
        "static int sand_nand_seek(struct sand_nand_chip *chip)\n",
        "static int __maybe_unused sand_nand_seek(struct sand_nand_chip *chip)\n",
    ),
    Change(
        "cmd/ubi.c",
        "an address of the board is one of the sandbox",
        "\t\taddr = hextoul(argv[2], NULL);\n\t\tsize = hextoul(argv[4], NULL);\n",
        "\t\taddr = (ulong)map_sysmem(hextoul(argv[2], NULL), 0);\n\t\tsize = hextoul(argv[4], NULL);\n",
    ),
    Change(
        "cmd/ubi.c",
        "the same",
        "\t\t\taddr = hextoul(argv[2], NULL);\n\t\t\targc--;\n",
        "\t\t\taddr = (ulong)map_sysmem(hextoul(argv[2], NULL), 0);\n\t\t\targc--;\n",
    ),
    Change("cmd/ubi.c", "the same", "#include <command.h>\n", "#include <command.h>\n#include <mapmem.h>\n"),
    Change(
        "cmd/pstore.c",
        "`pstore check`, which OpenWrt adds",
        "static struct cmd_tbl cmd_pstore_sub[] = {\n",
        (HERE / "pstore_check.c").read_text() + "\nstatic struct cmd_tbl cmd_pstore_sub[] = {\n"
        '\tU_BOOT_CMD_MKENT(check, 1, 0, pstore_check, "", ""),\n',
    ),
    Change(
        "cmd/Makefile",
        "the stand-ins",
        "obj-$(CONFIG_SANDBOX) += sandbox/\n",
        "obj-$(CONFIG_SANDBOX) += sandbox/ bench.o\n",
    ),
)


def apply(tree: Path) -> None:
    """Make every change in the unpacked U-Boot at ``tree`` and add :file:`bench.c`."""
    for change in CHANGES:
        path = Path(tree) / change.path
        text = path.read_text()
        if text.count(change.old) != 1:
            raise BuildError(f"{change.path}: {text.count(change.old)} places for this change, not one: {change.why}")
        path.write_text(text.replace(change.old, change.new))
    shutil.copy(HERE / "bench.c", Path(tree) / "cmd/bench.c")
