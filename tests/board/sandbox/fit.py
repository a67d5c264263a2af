"""FIT images as OpenWrt makes them, small: a tree, then kernel, device tree, overlays and root, each with sha256.

The kernel is not one: its first line says which system it belongs to, the rest is noise. The base device tree and its
overlays are real ones; each overlay leaves a property ``overlay-NAME`` in the root of the tree, which shows that it was
applied.
"""

import gzip
import hashlib
from pathlib import Path

from ..cache import command

KERNEL_BYTES = 200 << 10
ROOT_BYTES = 160 << 10
LOAD, TREE_LOAD, OVERLAY_LOAD = 0x46000000, 0x45F00000, 0x45F80000
BASE = "mt7988a-bananapi-bpi-r4"
OVERLAYS = ("emmc", "sd")
MODELS = ("bpi-r4", "bpi-r4-poe")


def noise(word: str, size: int) -> bytes:
    """Return ``size`` bytes that do not compress and depend only on ``word``."""
    blocks = (hashlib.sha256(f"{word} {number}".encode()).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def base_tree(name: str) -> str:
    """Return the source of the board's device tree, with the command line that stands in it."""
    return (
        f'/dts-v1/;\n/ {{\n\tmodel = "Bananapi {name}";\n\tcompatible = "bananapi,bpi-r4", "mediatek,mt7988a";\n'
        '\tchosen {\n\t\tbootargs = "console=ttyS0,115200n1 from-the-device-tree";\n\t};\n'
        '\tmmc: mmc@11230000 {\n\t\tstatus = "disabled";\n\t};\n};\n'
    )


def overlay_tree(name: str) -> str:
    """Return the source of the overlay that turns the one MMC controller into an SD slot or an eMMC."""
    return (
        f"/dts-v1/;\n/plugin/;\n&{{/}} {{\n\toverlay-{name};\n}};\n"
        f'&{{/mmc@11230000}} {{\n\tstatus = "okay";\n\tbench,medium = "{name}";\n}};\n'
    )


def image(name: str, path: Path, kind: str, **more: str) -> str:
    """Return the source of one image node: ``more`` are its other properties, already as source."""
    lines = [
        f'data = /incbin/("{path}");',
        f'type = "{kind}";',
        'arch = "sandbox";',
        *(f"{key.replace('_', '-')} = {value};" for key, value in {"compression": '"none"', **more}.items()),
        'hash-1 { algo = "crc32"; };',
        'hash-2 { algo = "sha256"; };',
    ]
    return f"{name} {{ {' '.join(lines)} }};\n"


def source_of(system: str, folder: Path) -> str:
    """Return the source of the FIT image of a system; its pieces lie in ``folder``."""
    images = [
        image(
            "kernel-1",
            folder / "kernel.gz",
            "kernel",
            os='"linux"',
            compression='"gzip"',
            load=f"<{LOAD:#x}>",
            entry=f"<{LOAD:#x}>",
        ),
        image("fdt-1", folder / "base.dtb", "flat_dt", load=f"<{TREE_LOAD:#x}>"),
        *(
            image(f"fdt-{BASE}-{name}", folder / f"{name}.dtbo", "flat_dt", load=f"<{OVERLAY_LOAD:#x}>")
            for name in OVERLAYS
        ),
        image("rootfs-1", folder / "root", "filesystem"),
    ]
    boards = [f'config-mt7988a-bananapi-{model} {{ kernel = "kernel-1"; fdt = "fdt-1"; }};\n' for model in MODELS]
    overlays = [f'{BASE}-{name} {{ fdt = "fdt-{BASE}-{name}"; }};\n' for name in OVERLAYS]
    return (
        f'/dts-v1/;\n/ {{\ndescription = "OpenWrt {system}";\n#address-cells = <1>;\n'
        f"images {{\n{''.join(images)}}};\n"
        f'configurations {{\ndefault = "config-{BASE}";\n{"".join(boards + overlays)}}};\n}};\n'
    )


def make(system: str, tools: Path, folder: Path) -> Path:
    """Make ``folder/SYSTEM.itb`` with the programs in ``tools`` and return it."""
    work = folder / f"{system}.pieces"
    work.mkdir(parents=True)
    kernel = f"{system}\n".encode() + noise(system, KERNEL_BYTES)
    (work / "kernel.gz").write_bytes(gzip.compress(kernel, mtime=0))
    (work / "root").write_bytes(b"hsqs" + noise(system + " root", ROOT_BYTES))
    trees = {"base.dtb": base_tree("BPI-R4"), **{f"{one}.dtbo": overlay_tree(one) for one in OVERLAYS}}
    for name, text in trees.items():
        (work / "tree.dts").write_text(text)
        command([tools / "dtc", "-q", "-@", "-o", work / name, work / "tree.dts"])
    (work / "image.its").write_text(source_of(system, work))
    path = {"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": "1782640800"}
    command(
        [
            tools / "mkimage",
            "-q",
            "-E",
            "-B",
            "0x1000",
            "-p",
            "0x1000",
            "-f",
            work / "image.its",
            folder / f"{system}.itb",
        ],
        extra_env=path,
    )
    return folder / f"{system}.itb"
