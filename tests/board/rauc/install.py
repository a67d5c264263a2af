"""`rauc install` on the devices of the bench: RAUC's configuration, and one installation from slot A into slot B.

Each of the two slots is a root file system on the NVMe disk and, as a slot below it, the kernel in a place of its own.
The boot loader is U-Boot with its own `fw_setenv`, and RAUC's record of the slots is on the data partition, as its
manual recommends where the roots are written as a whole.
"""

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import images, parts
from ..cuts.action import Place
from .bundle import COMPATIBLE, KINDS
from .contest import Run, processor_seconds
from .devices import Devices
from .system import System, spare_loop

ENVIRONMENT = ("ubootenv", "ubootenv2")
CONFIGURATION = f"""\
[system]
compatible={COMPATIBLE}
bootloader=uboot
mountprefix=/run/rauc
data-directory=/data/rauc

[keyring]
path=/etc/rauc/ca.pem
"""
SLOT = """
[slot.rootfs.{number}]
device={root}
{type}
bootname={letter}

[slot.kernel.{number}]
device={kernel}
type=raw
parent=rootfs.{number}
"""
SESSION = """
exec dbus-run-session -- sh -ec '
export DBUS_STARTER_BUS_TYPE=session
mount {data} /data
mkdir -p /data/rauc
rauc --override-boot-slot=A service >&2 &
until rauc status >/run/status 2>&1; do sleep 0.1; done
sync -f /data
echo ready
read go
code=0
rauc install /tmp/update.raucb >&2 || code=$?
echo ended $code
read go
umount /data
kill $!
wait $! || true
'
"""


@dataclass(frozen=True)
class Layout:
    """Where everything is: an image, and the number of the partition in it or 0. Roots and kernels by their slots."""

    roots: dict[str, Place]
    kernels: dict[str, Place]
    data: Place

    @property
    def places(self) -> tuple[Place, ...]:
        """Return all of them, and the two copies of the environment."""
        return (*self.roots.values(), *self.kernels.values(), self.data, *((name, 0) for name in ENVIRONMENT))


def node(image: str, number: int = 0) -> str:
    """Return the name that a device, or one of its partitions, has in the system.

    It is not that of a loop device: RAUC would look for the file behind it.
    """
    return f"/dev/{image}p{number}" if number else f"/dev/{image}"


def environment_config() -> str:
    """Return the text of /etc/fw_env.config."""
    size = images.ENV_COPY_BYTES["nand"]
    return "".join(f"{node(name)} 0x0 {size:#x} {size:#x} 1\n" for name in ENVIRONMENT)


def make_files(folder: Path, devices: Devices, layout: Layout, bundle: Path, kind: str) -> None:
    """Make the folder that is laid over the system: its configuration, the bundle, U-Boot's tools."""
    text = CONFIGURATION
    for number, letter in enumerate(layout.roots):
        text += SLOT.format(
            number=number,
            letter=letter,
            type=KINDS[kind][2],
            root=node(*layout.roots[letter]),
            kernel=node(*layout.kernels[letter]),
        )
    (folder / "dev").mkdir(parents=True)
    for place in layout.places:
        os.mknod(f"{folder}{node(*place)}", 0o600 | stat.S_IFBLK, os.stat(devices.node(*place)).st_rdev)
    (folder / "etc/rauc").mkdir(parents=True)
    (folder / "etc/rauc/system.conf").write_text(text)
    shutil.copy(bundle / "ca.pem", folder / "etc/rauc")
    (folder / "etc/fw_env.config").write_text(environment_config())
    (folder / "tmp").mkdir()
    shutil.copy(bundle / "update.raucb", folder / "tmp")
    (folder / "usr/bin").mkdir(parents=True)
    shutil.copy(parts.build()["envtools"] / "bin/fw_printenv", folder / "usr/bin")
    (folder / "usr/bin/fw_setenv").symlink_to("fw_printenv")


class Install:
    """One system that runs from slot A, with RAUC's service up and nothing installed yet."""

    def __init__(self, folder: str | Path, devices: Devices, layout: Layout, bundle: str | Path, kind: str) -> None:
        """``bundle`` is a folder that :func:`bundle.make_bundle` made of this ``kind``."""
        self.folder, self.devices, self.layout = Path(folder), devices, layout
        self.bundle, self.kind = Path(bundle), kind

    @contextlib.contextmanager
    def running(self) -> Iterator[Callable[[], Run]]:
        """Start, give the function that installs and returns the :class:`Run`, and stop in good order."""
        files = self.folder / "files"
        make_files(files, self.devices, self.layout, self.bundle, self.kind)
        with System(self.folder / "run", files, SESSION.format(data=node(*self.layout.data))) as system:
            system.hear("ready")
            yield lambda: self.install(system)
            system.say("stop")
            system.end()

    @staticmethod
    def install(system: System) -> Run:
        """Install, and return the :class:`Run`."""
        spare_loop()
        before, start = processor_seconds(system.process.pid), time.monotonic()
        system.say("go")
        system.hear("ended 0")
        return Run(time.monotonic() - start, processor_seconds(system.process.pid) - before)
