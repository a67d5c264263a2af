"""Loop devices through the kernel's own calls: attach an image, find its numbers, let it go again.

Every device clears itself when its last user is gone, and the bench is a user while it holds the descriptor: nothing
stays behind even when the bench is killed.
"""

import errno
import fcntl
import os
import struct
import time

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
READ_ONLY = 1
AUTO_CLEAR = 4
PART_SCAN = 8
TRIES = 50
LET_GO_SECONDS = 10


class Loop:
    """One image as a block device; ``path`` is its node on the host, ``number`` the pair (major, minor)."""

    def __init__(self, image, *, sector=512, partitions=False, read_only=False):
        """Attach ``image`` with ``sector`` bytes in a logical block; :class:`OSError` when there is no free device."""
        self.image = os.path.realpath(image)
        self.descriptor, self.path = attach(self.image, sector, AUTO_CLEAR | (PART_SCAN if partitions else 0)
                                            | (READ_ONLY if read_only else 0))
        rdev = os.stat(self.path).st_rdev
        self.number = (os.major(rdev), os.minor(rdev))

    def flush(self):
        """Write what the device's own cache holds into the image."""
        os.fsync(self.descriptor)

    def detach(self):
        """Let the device go and wait until the kernel has done it; :class:`TimeoutError` after ten seconds."""
        if self.descriptor is None:
            return
        os.close(self.descriptor)
        self.descriptor = None
        attached = f"/sys/block/{os.path.basename(self.path)}/loop/backing_file"
        end = time.monotonic() + LET_GO_SECONDS
        while self.is_ours(attached):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.path} ({self.image}) is still in use")
            time.sleep(0.005)

    def is_ours(self, attached):
        """Tell whether the device still has our image, and not one that somebody else attached in between."""
        try:
            with open(attached) as name:
                return name.read().rstrip("\n") == self.image
        except OSError:
            return False


def attach(image, sector, flags):
    """Attach ``image`` to a free loop device and return (open descriptor, path of the device)."""
    backing = os.open(image, os.O_RDONLY if flags & READ_ONLY else os.O_RDWR)
    try:
        control = os.open("/dev/loop-control", os.O_RDWR)
        try:
            return attach_free(control, backing, struct.pack("=II5QIIII64s64s32s2Q64x", backing, sector, 0, 0, 0, 0, 0,
                                                             0, 0, 0, flags, os.fsencode(image)[:63], b"", b"", 0, 0))
        finally:
            os.close(control)
    finally:
        os.close(backing)


def attach_free(control, backing, request):
    """Try free devices until one takes the request (another process may be quicker); return (descriptor, path)."""
    for _ in range(TRIES):
        path = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.ioctl(descriptor, LOOP_CONFIGURE, request)
            return descriptor, path
        except OSError as problem:
            os.close(descriptor)
            if problem.errno != errno.EBUSY:
                raise
    raise OSError(errno.EBUSY, "no loop device stayed free long enough to take the image")
