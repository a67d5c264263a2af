"""The new system of the comparison: an image of the bench, made as large as those of real routers."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

from .. import firmware, tree
from ..cache import HERE, cached, command, digest_of
from ..sandbox.fit import noise

# Files beside those of the bench's own tree: how many, their sizes in bytes, and how much of them does not compress.
FILES, FOLDERS = 2000, 80
SIZES = (200, 1000, 2000, 4000, 8000, 16000, 32000, 64000)
NOISE = 0.4
RELEASE = "25.12.6"


def fill(root: Path) -> None:
    """Add the files to a tree; always the same ones."""
    chance = random.Random(1)
    for number in range(FILES):
        place = root / f"usr/lib/rig/{number % FOLDERS}/{number}"
        place.parent.mkdir(parents=True, exist_ok=True)
        size = chance.choice(SIZES)
        noise = int(size * NOISE)
        place.write_bytes(chance.randbytes(noise) + f"{number} ".encode() * ((size - noise) // 5))
        os.utime(place, (tree.BUILD_TIME, tree.BUILD_TIME))


def make(parts: dict[str, Path], *, large: bool, **kind: Any) -> tuple[Path, Path]:
    """Return (squashfs, image) of a system that is ``large``, or of the bench's own."""
    kind = {
        "board_name": "bananapi,bpi-r4",
        "packages": ("block-mount", "sfdisk"),
        "kernel_nvme": "builtin",
        "shell": "ash",
        "fstools_overlay_name": True,
        **kind,
    }
    root = tree.squashfs(parts, release=RELEASE, kernel=tree.kernel_release(), **kind)
    if not large:
        return root, firmware.make(parts, release=RELEASE, **kind)
    key = digest_of(HERE / "rauc/content.py", HERE / "firmware.py", str(root))
    folder = cached("large-firmware", key, lambda folder: make_large(folder, root))
    return folder / "root.squashfs", folder / firmware.file_name(RELEASE)


def make_large(folder: Path, root: Path) -> None:
    """Make both files in a folder."""
    command(["unsquashfs", "-q", "-n", "-d", folder / "root", root])
    fill(folder / "root")
    tree.pack(folder / "root", folder / "root.squashfs", tree.BUILD_TIME)
    pieces = Path(folder / "pieces")
    fit = firmware.make_fit(pieces, [folder / "root.squashfs"], kernel=tree.kernel_release())
    told = firmware.metadata(RELEASE, "bpi-r4", firmware.compat_version(RELEASE))
    data = firmware.append(firmware.padded(fit), firmware.METADATA, told)
    signature = noise("signature", firmware.SIGNATURE_BYTES)
    (folder / firmware.file_name(RELEASE)).write_bytes(firmware.append(data, firmware.SIGNATURE, signature))
    shutil.rmtree(pieces)
