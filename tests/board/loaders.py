"""Boot loader files for the bench, made by the tools that make the real ones: fiptool of TF-A, mkimage of U-Boot.

What is in them is noise; their headers and tables are what a boot ROM and BL2 look at.
"""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import running as live
from .cache import cached, command, digest_of, recipe_of
from .debian import install
from .scripts import plan

APT_PACKAGES = ("arm-trusted-firmware-tools", "u-boot-tools")
PREFIX = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-"
KIBS = {"bl31": 40, "bl33": 900, "bl2": 200}
# What mkimage calls the media, as TF-A's makefiles for MediaTek call it.
MEDIA = {"nand": "media=snand;nandinfo=spim:2k+64;arm64=1", "emmc": "media=emmc;arm64=1", "sd": "media=sdmmc;arm64=1"}
NAMES = {"nand": "snand", "emmc": "emmc"}


def noise(word: str, kib: int) -> bytes:
    """Return bytes that nobody can mistake for something else, always the same for one word."""
    return random.Random(word).randbytes(kib << 10)


def make(folder: Path) -> None:
    """Make one FIP of each of two versions, and a BL2 for each medium."""
    install(APT_PACKAGES)
    for version in ("old", "new"):
        for name, kib in KIBS.items():
            (folder / name).write_bytes(noise(f"{version} {name}", kib))
        command(
            ["fiptool", "create", "--soc-fw", folder / "bl31", "--nt-fw", folder / "bl33", folder / f"{version}.fip"]
        )
        for medium, words in MEDIA.items():
            command(
                [
                    "mkimage",
                    "-T",
                    "mtk_image",
                    "-a",
                    "0x201000",
                    "-e",
                    "0x201000",
                    "-n",
                    words,
                    "-d",
                    folder / "bl2",
                    folder / f"{version}-{medium}.bl2",
                ]
            )


def built() -> Path:
    """Return the folder with the files."""
    return cached("loaders", digest_of(recipe_of(make, noise), repr((KIBS, MEDIA))), make)


def fip(version: str = "new") -> bytes:
    """Return the bytes of a FIP."""
    return (built() / f"{version}.fip").read_bytes()


def bl2(medium: str = "nand", version: str = "new") -> bytes:
    """Return the bytes of a BL2."""
    return (built() / f"{version}-{medium}.bl2").read_bytes()


def recovery() -> bytes:
    """Return what passes for a FIT: its magic number, and noise."""
    return b"\xd0\x0d\xfe\xed" + noise("recovery", 700)


@dataclass(frozen=True)
class Files:
    """The files that a plan for a medium names, and the text of that plan's sections."""

    medium: str = "nand"
    ram: str = "4GiB"
    suffix: str = ""
    mtd_rw: bool = False
    image: bool = False
    prefix: str = PREFIX

    @property
    def names(self) -> dict[str, str]:
        """Return what each of them is called."""
        word = NAMES[self.medium]
        names = {"bl2": f"{self.prefix}{word}-preloader{self.suffix}.bin", "fip": f"{self.prefix}{word}-bl31-uboot.fip"}
        return names | ({"recovery": f"{self.prefix}initramfs-recovery.itb"} if self.image else {})

    @property
    def contents(self) -> dict[str, bytes]:
        """Return the bytes of each of them."""
        contents = {"bl2": bl2(self.medium), "fip": fip()}
        return contents | ({"recovery": recovery()} if self.image else {})

    def plan(self, **more: Any) -> str:
        """Return a plan that names them."""
        sums = {what: hashlib.sha256(data).hexdigest() for what, data in self.contents.items()}
        line = {what: f'{{file: {self.names[what]}, sha256: "{sums[what]}"}}' for what in sums}
        text = f"bootloader:\n  bl2: {line['bl2']}\n  fip: {line['fip']}\n"
        text += "  mtd_rw: true\n" if self.mtd_rw else ""
        text += f"recovery:\n  image: {line['recovery']}\n" if self.image else ""
        ram = f"{{model: bpi-r4, ram: {self.ram}}}" if self.ram else "{model: bpi-r4}"
        return plan(medium=self.medium, more=text, **more).replace("{model: bpi-r4}", ram)

    def put(self, box: live.Files, folder: str = "/tmp") -> None:
        """Put them on a router."""
        for what, data in self.contents.items():
            box.run(f"mkdir -p {folder} && cat >{folder}/{self.names[what]}", input=data).ok()
