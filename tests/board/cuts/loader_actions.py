"""`reflash`, cut: whatever was cut, the boot loader is the old one, the new one, or can be made the old one again.

The bench starts without looking at BL2 and FIP, so what a cut leaves of them is judged by :func:`judge_places`: each
must be whole, or what was there before must be saved, with its sum. A run that said that it was done leaves a file, and
then everything must be new.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import images, loaders
from ..images import GiB
from ..loaders import Files
from ..router import Disk, Router
from ..ubi import Table, UbiError
from .action import INTERNAL, OWN_FILES, ROOTS, Action, Target

FOLDER, DONE = "/root/files", "/root/finished"
FOUR_GIB = 4 * 1024 * 1024 - 90000
OLD = "/etc/bootplan/old"
# The eMMC's partitions: first byte, end.
GPT = {name: (offset * 1024, (offset + size) * 1024) for name, offset, size in images.GPT["emmc"]}


@dataclass(frozen=True)
class Place:
    """A place of the boot loader: what it is called, how it is read from the images of a box, and for which medium."""

    what: str
    read: Callable[[Router], bytes | None]
    medium: str = "nand"

    def content(self, version: str) -> bytes:
        """Return what the place holds before, or is to hold."""
        return loaders.fip(version) if self.what == "fip" else loaders.bl2(self.medium, version)

    @property
    def new(self) -> bytes:
        """Return what the place is to hold."""
        return self.content("new")

    @property
    def old(self) -> bytes:
        """Return what it held before."""
        return self.content("old")


def volume_fip(box: Router) -> bytes | None:
    """Return what the volume fip holds, or None when nobody can read it."""
    try:
        return Table.read(box.images).content("fip")
    except UbiError:
        return None


def of_image(name: str, first: int = 0) -> Callable[[Router], bytes]:
    """Return a function that reads the first MiB of a place in an image."""

    def read(box: Router) -> bytes:
        """Read it."""
        with open(box.image(name), "rb") as image:
            image.seek(first)
            return image.read(1 << 20)

    return read


def is_saved(box: Router, place: Place) -> bool:
    """Tell whether what was there before is saved, and begins as it did."""
    found = box.run(
        f"cd {OLD} && for one in {place.what}-*.bin; do sha256sum -c $one.sha256 >/dev/null && "
        f"head -c {len(place.old)} $one | sha256sum; done"
    )
    return hashlib.sha256(place.old).hexdigest() in found.out


def judge_places(*places: Place) -> Callable[[Router], list[str]]:
    """Return a look: no place is neither whole nor restorable, and after a run that was done all are new."""

    def look(box: Router) -> list[str]:
        """Look at all of them."""
        box.sync()
        done, faults = box.exists(DONE), []
        for place in places:
            have = place.read(box)
            is_new, is_old = (have is not None and have.startswith(data) for data in (place.new, place.old))
            if done and not is_new:
                what = "the old one" if is_old else "none"
                faults.append(f"half taken for whole: the run said it was done, {place.what} is {what}")
            elif not is_new and not is_old and not is_saved(box, place):
                faults.append(f"lost: {place.what} is neither old nor new, and the old one is not saved")
        return faults

    return look


def never_lost(place: Place) -> Callable[[Router], list[str]]:
    """Return a look: the place is whole at every moment."""

    def look(box: Router) -> list[str]:
        """Look at it."""
        have = place.read(box)
        if have is None or not (have.startswith((place.new, place.old))):
            return [f"nothing to start from: {place.what} is neither the old one nor the new one"]
        return judge_places(place)(box)

    return look


TITLES = {
    "reflash_fip": "reflash fip into a second volume",
    "reflash_fip_in_place": "reflash fip in place",
    "reflash_bl2": "reflash bl2 with kmod-mtd-rw",
    "reflash_emmc": "reflash emmc, from SPI-NAND",
}
FIP = Place("fip", volume_fip)
FIP_ON_EMMC = Place("fip", of_image("mmcblk0", GPT["fip"][0]))
BL2_ON_EMMC = Place("bl2", of_image("mmcblk0boot0"), "emmc")
BL2_COPIES = tuple(Place("bl2", of_image("mtd-bl2", number << 19)) for number in range(4))


def one_copy_at_most(box: Router) -> list[str]:
    """A look: of the four copies of BL2 at most one is torn, at every moment."""
    box.sync()
    have = [place.read(box) or b"" for place in BL2_COPIES]
    torn = sum(not (data.startswith((place.new, place.old))) for data, place in zip(have, BL2_COPIES, strict=True))
    return [f"torn: {torn} copies of BL2"] if torn > 1 else judge_places(*BL2_COPIES)(box)


def prepared(files: Files, command: str, data: bytes) -> Callable[[Router], None]:
    """Return a function that puts the files on the router, and what is to be replaced where it belongs."""

    def prepare(box: Router) -> None:
        """Put them there."""
        files.put(box, FOLDER)
        box.run(command, input=data).ok()

    return prepare


def reflash(
    name: str, words: str, files: Files, look: Callable[[Router], list[str]], targets: dict[str, Target], **more: Any
) -> Action:
    """Return an action of the boot loader; the router runs from the boot medium, before and after."""
    kind = {"disks": (Disk(size=GiB),), "memory_kib": FOUR_GIB, **more.pop("kind", {})}
    return Action(
        **{
            "name": name,
            "title": TITLES[name],
            "plan": files.plan(),
            "words": f"{words.replace('FOLDER', FOLDER)} && echo >{DONE}",
            "kind": kind,
            "look": look,
            "new": INTERNAL,
            "planned": ROOTS["extroot-overlay"],
            "files": (*OWN_FILES, DONE),
            "targets": {"overlay": None, **targets},
            **more,
        }
    )


OLD_FIP = "cat >/tmp/first && ubiupdatevol /dev/ubi0_0 /tmp/first && rm /tmp/first"
OLD_EMMC = (
    "cat >/tmp/first && dd if=/tmp/first of=/dev/mmcblk0p3 bs=1M conv=notrunc && "
    f"dd if={FOLDER}/bl2-old of=/dev/mmcblk0boot0 bs=1M conv=notrunc; rm /tmp/first {FOLDER}/bl2-old"
)
NAND, UNLOCKED, EMMC = Files(), Files(mtd_rw=True), Files("emmc", image=True)


def old_emmc(box: Router) -> None:
    """Put the files and an old boot loader of the eMMC there."""
    EMMC.put(box, FOLDER)
    box.run(f"cat >{FOLDER}/bl2-old", input=BL2_ON_EMMC.old).ok()
    box.run(OLD_EMMC, input=FIP_ON_EMMC.old).ok()


def fip() -> Action:
    """Return FIP into a second volume, which takes the name."""
    return reflash(
        "reflash_fip",
        "reflash fip FOLDER --apply",
        NAND,
        never_lost(FIP),
        {"ubi": None, "fip": None, "ubi6": None},
        kind={"spare_blocks": 20},
        volumes=("ubi", "fip", "ubi6"),
        prepare=prepared(NAND, OLD_FIP, FIP.old),
    )


def fip_in_place() -> Action:
    """Return FIP in place."""
    return reflash(
        "reflash_fip_in_place",
        "reflash fip FOLDER --apply --in-place",
        NAND,
        judge_places(FIP),
        {"ubi": None, "fip": None},
        volumes=("ubi", "fip"),
        prepare=prepared(NAND, OLD_FIP, FIP.old),
    )


def bl2() -> Action:
    """Return BL2 on SPI-NAND."""
    four = BL2_COPIES[0].old.ljust(1 << 19, b"\xff") * 4
    return reflash(
        "reflash_bl2",
        "reflash bl2 FOLDER --apply --in-place",
        UNLOCKED,
        one_copy_at_most,
        {"mtd-bl2": None},
        kind={"raw": True, "packages": ("kmod-nvme", "block-mount", "sfdisk", "kmod-mtd-rw")},
        volumes=("mtd-bl2",),
        prepare=prepared(UNLOCKED, "cat >/dev/mtd0", four),
    )


def emmc() -> Action:
    """Return all of the eMMC's boot loader."""
    return reflash(
        "reflash_emmc",
        "reflash emmc FOLDER --apply",
        EMMC,
        judge_places(FIP_ON_EMMC, BL2_ON_EMMC),
        {"mmcblk0": (GPT["fip"], GPT["recovery"]), "mmcblk0boot0": (0, 1 << 19)},
        kind={"emmc": True},
        prepare=old_emmc,
    )


# Made when they are run: their files are built then.
LOADER_ACTIONS = {"reflash_fip": fip, "reflash_fip_in_place": fip_in_place, "reflash_bl2": bl2, "reflash_emmc": emmc}
