"""Bundles for RAUC with the root file system of a squashfs and a kernel, signed with a key that is made for the run.

Kinds, as RAUC's slots and images go together (update_handler.c of 1.8):

``tar``
    A new ext4 in the slot, and the files unpacked into it: what is nearest to the script.
``ext4``
    A finished file system, as small as it gets, copied block by block and grown to the slot.
``squashfs``
    The squashfs itself, copied block by block: a root that cannot be written, for a system with an overlay.

All are of the format ``plain``, which RAUC 1.8 makes when the manifest names none: signed as a whole, and read once to
check that. The format ``verity`` needs the device mapper, which not every kernel has; it changes how a bundle is read,
and nothing that is written.
"""

import shutil
from pathlib import Path

from .system import run

COMPATIBLE = "bench"
VERSION = "2"
# Of each kind: the image's name, the commands that make it in $in from $tree, the slot's lines in the configuration.
KINDS = {
    "tar": ("rootfs.tar", "tar --numeric-owner -C $tree -cf $in/rootfs.tar .", "type=ext4"),
    "ext4": (
        "rootfs.ext4",
        (
            "mke2fs -q -t ext4 -d $tree $in/rootfs.ext4 $(( $(du -sk $tree | cut -f 1) * 2 + 65536 ))k\n"
            "resize2fs -M $in/rootfs.ext4"
        ),
        "type=ext4\nresize=true",
    ),
    "squashfs": ("rootfs.squashfs", "cp /shared/rootfs.squashfs $in/", "type=raw"),
}
MAKE = """
in=/tmp/in tree=/tmp/tree
mkdir $in
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=bench -days 30 -keyout /tmp/key.pem -out /shared/ca.pem
unsquashfs -q -n -d $tree /shared/rootfs.squashfs
cp /shared/kernel.img $in/
{make}
cat >$in/manifest.raucm <<END
[update]
compatible={compatible}
version={version}

[image.rootfs]
filename={name}

[image.kernel]
filename=kernel.img
END
rauc bundle --cert=/shared/ca.pem --key=/tmp/key.pem $in /shared/update.raucb
"""


def make_bundle(folder: str | Path, kind: str, squashfs: Path, kernel: Path) -> Path:
    """Make ``update.raucb`` and ``ca.pem``, which proves it, in a new folder, and return the folder."""
    folder = Path(folder)
    (folder / "files").mkdir(parents=True)
    shutil.copy(squashfs, folder / "rootfs.squashfs")
    shutil.copy(kernel, folder / "kernel.img")
    name, make, _ = KINDS[kind]
    script = MAKE.format(make=make, name=name, compatible=COMPATIBLE, version=VERSION)
    run(folder / "run", folder / "files", script)
    (folder / "rootfs.squashfs").unlink()
    (folder / "kernel.img").unlink()
    return folder
