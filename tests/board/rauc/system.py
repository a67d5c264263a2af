"""A Debian 12 with its RAUC that runs in namespaces of its own, and programs run in it as root.

Its packages are unpacked into the cache, not installed: this machine's own packages stay as they are. What it writes
besides the devices it is given goes into RAM and is gone with it.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Self

from .. import debian
from ..cache import HERE, SEARCH_PATH, BuildError, Part, cached, digest_of, recipe_of
from ..loops import KEPT_FREE, LOOP_CTL_ADD, LOOP_CTL_GET_FREE
from ..router import die_with_parent, read_line

PACKAGES = "rauc dbus e2fsprogs tar coreutils dash mount util-linux openssl squashfs-tools".split()
ENTER = HERE / "rauc/enter"
SECONDS = 300
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "loop-control": (10, 237)}
LOOPS = 256


def make_system(folder: Path) -> None:
    """Fetch RAUC and everything it needs, down to the C library."""
    (folder / "version").write_text(debian.unpack(PACKAGES, folder, dependencies=True) + "\n")


PART = Part("rauc", make_system, lambda: digest_of(recipe_of(make_system, debian.unpack), repr(PACKAGES)))


def system_folder() -> Path:
    """Return the unpacked system, fetching it when it is new."""
    return cached(PART.name, PART.key(), PART.make)


def version() -> str:
    """Return the name and the version of Debian's RAUC."""
    return (system_folder() / "version").read_text().partition(",")[0].strip()


class System:
    """The system while one shell script runs in it: the script reads lines from :meth:`say`, :meth:`hear` gets its own.

    ``files`` is a folder that is laid over the system, /tmp and /run in RAM included.
    """

    def __init__(self, folder: str | Path, files: str | Path, script: str) -> None:
        """``folder`` is an empty place for the mounts and for what the script prints on standard error."""
        self.folder, self.files, self.script = Path(folder), Path(files), script
        self.errors = self.folder / "errors"

    def __enter__(self) -> Self:
        """Start."""
        stage = self.folder / "stage"
        stage.mkdir(parents=True)
        make_nodes(self.files / "dev")
        unshare = [
            shutil.which("unshare", path=SEARCH_PATH) or "unshare",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--net",
            "--fork",
            "--kill-child=SIGKILL",
        ]
        words = ["/bin/sh", str(ENTER), str(system_folder()), str(stage), str(self.files), self.script]
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                [*unshare, *words],
                env={"PATH": SEARCH_PATH, "HOME": "/root", "LC_ALL": "C"},
                cwd="/",
                stderr=errors,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
            )
        return self

    def say(self, line: str) -> None:
        """Give the script a line."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def hear(self, wanted: str) -> None:
        """Wait for the script to print a line; :class:`BuildError` with its errors when it is another or none."""
        assert self.process.stdout
        line = read_line(self.process.stdout, SECONDS).decode(errors="replace").strip()
        if line != wanted:
            raise BuildError(f"expected '{wanted}', got '{line}'\n{self.errors.read_text(errors='replace')}")

    def end(self) -> None:
        """Wait for the script's end; :class:`BuildError` when it is not 0."""
        code = self.process.wait(SECONDS)
        if code != 0:
            raise BuildError(f"the script ended with {code}\n{self.errors.read_text(errors='replace')}")

    def __exit__(self, *_: object) -> None:
        """End everything in it; its mounts are gone with its last process."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.process.wait()


def make_nodes(folder: Path) -> None:
    """Make the nodes that every system has, and those of loop devices: RAUC takes a free one for its bundle."""
    folder.mkdir(exist_ok=True)
    for name, (major, minor) in NODES.items():
        os.mknod(folder / name, 0o600 | stat.S_IFCHR, os.makedev(major, minor))
    for number in range(LOOPS):
        os.mknod(folder / f"loop{number}", 0o600 | stat.S_IFBLK, os.makedev(7, number))


def spare_loop() -> None:
    """See to it that the loop device that is given to the next program that asks is none that a router keeps free."""
    with open("/dev/loop-control") as control:
        if fcntl.ioctl(control, LOOP_CTL_GET_FREE) >= KEPT_FREE:
            fcntl.ioctl(control, LOOP_CTL_ADD, -1)


def run(folder: Path, files: Path, script: str) -> None:
    """Run a script in the system to its end, with ``files`` laid over it."""
    with System(folder, files, script) as system:
        system.end()
