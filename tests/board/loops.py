"""Loop devices through the kernel's own calls: attach an image, find its numbers, let it go again.

Every device clears itself when its last user is gone, and the bench is a user while it holds the descriptor: nothing
stays behind even when the bench is killed.
"""

import contextlib
import errno
import fcntl
import os
import struct
import time
from pathlib import Path

LOOP_CTL_ADD, LOOP_CTL_REMOVE, LOOP_CTL_GET_FREE = 0x4C80, 0x4C81, 0x4C82
LOOP_CONFIGURE = 0x4C0A
# Devices from this number on stay free for what a router itself attaches.
KEPT_FREE, MOST_ROUTERS = 4096, 256
READ_ONLY = 1
AUTO_CLEAR = 4
PART_SCAN = 8
TRIES = 50
LET_GO_SECONDS = 10


class Loop:
    """One image as a block device; ``path`` is its node on the host, ``number`` the pair (major, minor)."""

    def __init__(
        self, image: str | Path, *, sector: int = 512, partitions: bool = False, read_only: bool = False, limit: int = 0
    ) -> None:
        """Attach ``image`` with ``sector`` bytes in a logical block; :class:`OSError` when there is no free device.

        With a ``limit`` the device has that many bytes of the image, and not all.
        """
        self.image = os.path.realpath(image)
        self.descriptor, self.path = attach(
            self.image, sector, AUTO_CLEAR | (PART_SCAN if partitions else 0) | (READ_ONLY if read_only else 0), limit
        )
        rdev = os.stat(self.path).st_rdev
        self.number = (os.major(rdev), os.minor(rdev))

    def flush(self) -> None:
        """Write what the device's own cache holds into the image."""
        os.fsync(self.descriptor)

    def detach(self) -> None:
        """Let the device go and wait until the kernel has done it; :class:`TimeoutError` after ten seconds."""
        if self.descriptor < 0:
            return
        os.close(self.descriptor)
        self.descriptor = -1
        attached = f"/sys/block/{os.path.basename(self.path)}/loop/backing_file"
        end = time.monotonic() + LET_GO_SECONDS
        while self.is_ours(attached):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.path} ({self.image}) is still in use")
            time.sleep(0.005)

    def is_ours(self, attached: str) -> bool:
        """Tell whether the device still has our image, and not one that somebody else attached in between."""
        try:
            with open(attached) as name:
                return name.read().rstrip("\n") == self.image
        except OSError:
            return False


def attach(image: str, sector: int, flags: int, limit: int = 0) -> tuple[int, str]:
    """Attach ``image`` to a free loop device and return (open descriptor, path of the device)."""
    backing = os.open(image, os.O_RDONLY if flags & READ_ONLY else os.O_RDWR)
    try:
        control = os.open("/dev/loop-control", os.O_RDWR)
        try:
            return attach_free(
                control,
                backing,
                struct.pack(
                    "=II5QIIII64s64s32s2Q64x",
                    backing,
                    sector,
                    0,
                    0,
                    0,
                    0,
                    limit,
                    0,
                    0,
                    0,
                    flags,
                    os.fsencode(image)[:63],
                    b"",
                    b"",
                    0,
                    0,
                ),
            )
        finally:
            os.close(control)
    finally:
        os.close(backing)


def attach_free(control: int, backing: int, request: bytes) -> tuple[int, str]:
    """Try free devices until one takes the request (another process may be quicker); return (descriptor, path)."""
    for _ in range(TRIES):
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        if number >= KEPT_FREE:
            number = fcntl.ioctl(control, LOOP_CTL_ADD, -1)
        path = f"/dev/loop{number}"
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.ioctl(descriptor, LOOP_CONFIGURE, request)
            return descriptor, path
        except OSError as problem:
            os.close(descriptor)
            if problem.errno != errno.EBUSY:
                raise
    raise OSError(errno.EBUSY, "no loop device stayed free long enough to take the image")


class FreeLoops:
    """Loop devices that nothing is attached to: a router's own, for mount -o loop; ``numbers`` as of :class:`Loop`."""

    def __init__(self, count: int) -> None:
        """Take ``count`` devices that no other router has, in whatever root on this machine that one runs."""
        self.numbers: list[tuple[int, int]] = []
        self.indexes: list[int] = []
        self.lock = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        for router in range(MOST_ROUTERS):
            with contextlib.suppress(BlockingIOError):
                lock_byte(self.lock, router)
                self.indexes = [KEPT_FREE + router * count + index for index in range(count)]
                break
        for index in self.indexes:
            self.numbers.append(made_loop(index))

    def let_go(self) -> None:
        """Give the devices back; one that is still in use stays, and the next router waits for it."""
        for index in self.indexes:
            with contextlib.suppress(OSError):
                control_loops(LOOP_CTL_REMOVE, index)
        if self.lock >= 0:
            os.close(self.lock)
        self.indexes, self.lock = [], -1


def lock_byte(descriptor: int, byte: int) -> None:
    """Lock one byte of an open file until it is closed; :class:`BlockingIOError` when another opening of it has it."""
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("=hhxxxxqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))


def made_loop(index: int, patience: float = 10) -> tuple[int, int]:
    """Make the loop device of that number anew and return its number of the kernel.

    One that is being removed keeps its number longer than its place in /sys; one that somebody has open stays as it is.
    :class:`TimeoutError` when it does not become free.
    """
    end = time.monotonic() + patience
    while not is_made(index):
        if time.monotonic() > end:
            raise TimeoutError(f"loop{index} does not become free")
        time.sleep(0.05)
    major, minor = Path(f"/sys/block/loop{index}/dev").read_text().split(":")
    return int(major), int(minor)


def is_made(index: int) -> bool:
    """Make the loop device of that number anew; tell whether it is there to stay, and not only being removed."""
    try:
        control_loops(LOOP_CTL_ADD, index)
    except FileExistsError:
        try:
            control_loops(LOOP_CTL_REMOVE, index)
        except OSError as problem:
            # Somebody has its node open: that does no harm. An image of a router that is gone has to leave it first.
            return problem.errno == errno.EBUSY and not os.path.exists(f"/sys/block/loop{index}/loop/backing_file")
        return False
    return True


def control_loops(request: int, index: int) -> None:
    """Make or remove the loop device of that number."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        fcntl.ioctl(control, request, index)
    finally:
        os.close(control)
