"""The power-on inside the namespace: devices, the choice of the root as U-Boot, kernel and fstools make it, process 1.

Run as a program in new mount, process, host-name and network namespaces, with the path of a JSON file that says what
hardware there is. Reports one JSON line on standard output: the process id, the console lines and the outcome.
"""

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from typing import NoReturn

from board import fstools, sysfs
from board.sysfs import Spec

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_NOATIME, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    32,
    1024,
    4096,
    8192,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# kmsg is the null device here: what the router says to the kernel must not land in the host's log.
CHARACTER_NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "kmsg": (1, 3),
    "tty": (5, 0),
    "ptmx": (5, 2),
}
# What ubus says of an interface, and procd of the watchdog.
INTERFACE = (
    '{\n\t"up": UP,\n\t"pending": false,\n\t"available": true,\n\t"autostart": true,\n\t"dynamic": false,\n'
    '\t"proto": "static",\n\t"device": "br-lan"\n}\n'
)
WATCHDOG = '{\n\t"status": "STATUS",\n\t"timeout": 30,\n\t"frequency": 5,\n\t"magicclose": false\n}\n'
FAULTS = "/usr/share/rig/faults"
LIBC = ctypes.CDLL(None, use_errno=True)


class Stopped(Exception):
    """The machine does not come up; the text is the outcome, ``hang`` or ``panic``."""


def check(result: int, what: str) -> None:
    """Raise :class:`OSError` when a call of the C library failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Mount as the C library does; :class:`OSError` when it fails."""
    os.makedirs(target, exist_ok=True)
    words = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    check(LIBC.mount(*words[:3], flags, words[3]), f"mount {source} on {target}")


def unmount(target: str, flags: int = 0) -> None:
    """Unmount as umount2(2) does."""
    check(LIBC.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot(new_root: str, old_root: str) -> None:
    """Make ``new_root`` the root and put the old one at ``old_root`` inside it."""
    check(LIBC.syscall(PIVOT_ROOT[os.uname().machine], os.fsencode(new_root), os.fsencode(old_root)), "pivot_root")
    os.chdir("/")


def bind_file(source: str, target: str, read_only: bool = False) -> None:
    """Put one file or folder over another."""
    check(LIBC.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND, None), f"bind {target}")
    if read_only:
        check(LIBC.mount(None, os.fsencode(target), None, MS_BIND | MS_REMOUNT | MS_RDONLY, None), f"bind {target}")


class Machine:
    """One power-on. ``spec`` is what the bench built; ``console`` collects what would be printed."""

    def __init__(self, spec: Spec) -> None:
        """Remember the hardware."""
        self.spec = spec
        self.console: list[str] = []
        self.nvme = False

    def say(self, line: str) -> None:
        """Print a line on the console."""
        self.console.append(line)

    def enter_stage(self) -> None:
        """Build an empty first root with /dev, /proc, /sys, /tmp and the hidden tools, and leave the host for good."""
        spec, stage = self.spec, self.spec["stage"]
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        mount("tmpfs", stage, "tmpfs", 0, "mode=755,size=8m")
        mount("tmpfs", f"{stage}/.rig", "tmpfs", 0, "mode=755,size=16m")
        for name in ("bin", "lib", "dev", "sys"):
            os.makedirs(f"{stage}/.rig/{name}")
        for name in ("bin", "lib"):
            bind_file(f"{spec['hidden']}/{name}", f"{stage}/.rig/{name}", read_only=True)
        programs = {name: spec[name] for name in ("init", "refresh", "partitions")}
        programs["ld.so"] = f"{spec['hidden']}/ld.so"
        if spec["slots"]:
            programs |= {"rcS": spec["rcS"], "servers": spec["servers"]}
        for name, source in programs.items():
            Path(stage, ".rig", name).write_bytes(Path(source).read_bytes())
            os.chmod(f"{stage}/.rig/{name}", 0o755)
        mount("sysfs", f"{stage}/.rig/sys", "sysfs", MS_RDONLY)
        Path(stage, ".rig/kernel").write_bytes(spec["kernel"].encode().ljust(64, b"\0"))
        if spec["slots"]:
            for name in ("pstore", "stage2"):
                os.mkdir(f"{stage}/.rig/{name}")
                bind_file(f"{spec['ram']}/{name}", f"{stage}/.rig/{name}")
        mount("tmpfs", f"{stage}/dev", "tmpfs", MS_NOSUID, "mode=755,size=1m")
        mount("tmpfs", f"{stage}/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOATIME, f"mode=1777,size={spec['tmp_size']}")
        os.mkdir(f"{stage}/host")
        pivot(stage, f"{stage}/host")
        unmount("/host", MNT_DETACH)
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOATIME)
        mount("sysfs", "/sys", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOATIME, "mode=755,size=8m")

    def protect_host(self) -> None:
        """Give /proc the kernel command line of the router and keep the host's kernel settings out of reach."""
        Path("/.rig/cmdline").write_text(self.spec["cmdline"] + "\n")
        Path("/.rig/nothing").write_text("")
        bind_file("/.rig/cmdline", "/proc/cmdline", read_only=True)
        if os.path.exists("/proc/sysrq-trigger"):
            bind_file("/.rig/nothing", "/proc/sysrq-trigger", read_only=True)
        bind_file("/proc/sys", "/proc/sys", read_only=True)
        if self.spec["memory_kib"]:
            lines = Path("/proc/meminfo").read_text().splitlines(keepends=True)
            Path("/.rig/meminfo").write_text("".join([f"MemTotal: {self.spec['memory_kib']} kB\n", *lines[1:]]))
            bind_file("/.rig/meminfo", "/proc/meminfo", read_only=True)
        if self.spec["kernel"] != os.uname().release:
            Path("/.rig/release").write_text(self.spec["kernel"] + "\n")
            bind_file("/.rig/release", "/proc/sys/kernel/osrelease", read_only=True)

    def make_devices(self) -> None:
        """Make the nodes of the devices that are there from the start."""
        for name, (major, minor) in CHARACTER_NODES.items():
            os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
            os.chmod(f"/dev/{name}", 0o666)
        mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=600")
        os.makedirs("/dev/shm")
        for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            os.symlink(f"/proc/self/{target}", f"/dev/{name}")
        spec = self.spec
        for device in [
            *spec["fit"],
            *spec["mmc"],
            *spec["readers"],
            *spec["mtd"],
            *([spec["root"]] if spec["root"] else []),
        ]:
            self.node(device)
        for index, number in enumerate(spec["free_loops"]):
            self.node({"name": f"loop{index}", "number": number})
        self.make_volumes(spec["flash"])
        Path("/.rig/dev/disks").write_text("")
        sysfs.make("/sys", spec)
        if spec["slots"]:
            mount("/.rig/pstore", "/sys/fs/pstore", None, MS_MOVE)
        self.add_disks([*[device for device in spec["mmc"] if device["partitions"]], *spec["readers"]])

    def make_volumes(self, flash: Spec) -> None:
        """Make the nodes of UBI: those for the stand-ins are hidden, a volume that cannot be read has a dead one."""
        os.mknod("/dev/ubi0", 0o600 | stat.S_IFCHR, os.makedev(*CHARACTER_NODES["null"]))
        self.node(flash["table"], "/.rig/dev")
        holders = {device["name"]: device for device in flash["holders"]}
        for device in holders.values():
            self.node(device, "/.rig/dev")
        for volume in flash["volumes"]:
            device = holders.get(f"ubi0_{volume['number']}")
            if device:
                self.node({**device, "number": (0, 0)} if volume["marker"] else device)

    def node(self, device: Spec, folder: str = "/dev") -> None:
        """Make one block device node."""
        os.mknod(f"{folder}/{device['name']}", 0o600 | stat.S_IFBLK, os.makedev(*device["number"]))

    def add_disks(self, disks: list[Spec]) -> None:
        """Tell the partition stand-in about disks; their partitions appear with :meth:`refresh`."""
        with open("/.rig/dev/disks", "a") as file:
            for device in disks:
                self.node(device, "/.rig/dev")
                file.write(f"{device['name']} {device['number'][0]}:{device['number'][1]}\n")

    def load_nvme(self, why: str) -> None:
        """Bring the NVMe disks up, once."""
        if self.nvme:
            return
        self.nvme = True
        self.say(f"nvme: driver up ({why}), {len(self.spec['nvme'])} disks")
        for device in self.spec["nvme"]:
            self.node(device)
        self.add_disks(self.spec["nvme"])
        sysfs.load_nvme("/sys", self.spec["nvme"], self.spec["kernel_nvme"] == "module")

    def refresh(self, root: str) -> None:
        """Run the partition stand-in with the shell of the tree at ``root``."""
        for name in ("dev", "proc", "sys", ".rig"):
            mount(f"/{name}", f"{root}/{name}", None, MS_BIND | MS_REC)
        try:
            done = subprocess.run(
                ["/bin/ash", "/.rig/refresh"],
                preexec_fn=lambda: os.chroot(root),
                cwd="/",
                capture_output=True,
                text=True,
            )
            if done.returncode or done.stderr:
                raise OSError(f"refresh: {done.returncode} {done.stderr}")
        finally:
            for name in ("dev", "proc", "sys", ".rig"):
                unmount(f"{root}/{name}", MNT_DETACH)

    def block_devices(self) -> list[str]:
        """Return the nodes of every disk and partition that could carry a file system."""
        names = sorted(os.listdir("/sys/class/block"))
        return [f"/dev/{name}" for name in names if name.startswith(("nvme", "mmc", "fitrw"))]

    def find(self, options: dict[str, str]) -> tuple[str, fstools.FileSystem] | None:
        """Return (device, file system) for a mount's uuid, label or device, or None."""
        for path in self.block_devices():
            found = fstools.probe(path)
            if found is None:
                continue
            if options.get("uuid"):
                if found.uuid == options["uuid"].lower():
                    return path, found
            elif options.get("label"):
                if found.label == options["label"]:
                    return path, found
            elif options.get("device") == path:
                return path, found
        return None

    def has_module(self, *roots: str) -> str | None:
        """Return the first of these roots that has the NVMe driver for the running kernel to load at boot, or None."""
        for root in roots:
            loads = Path(root, "etc/modules-boot.d").glob("*nvme*")
            if any(loads) and Path(root, "lib/modules", self.spec["kernel"], "nvme.ko").is_file():
                return root
        return None

    def mount_files(self, device: str, found: fstools.FileSystem, target: str) -> None:
        """Mount a file system; raise :class:`OSError` for one this kernel cannot mount."""
        if f"\t{found.type}\n" not in Path("/proc/filesystems").read_text():
            raise OSError(f"filesystem {found.type} not supported by kernel")
        # A new ext4 would be written to for a while by the kernel itself, and tests compare what disks hold.
        mount(device, target, found.type, MS_NOATIME, "noinit_itable" if found.type == "ext4" else None)

    def extroot(self, prefix: str) -> str | None:
        """Mount the extroot that the fstab under ``prefix`` asks for and return its kind, or None for a normal boot.

        ``prefix`` is the upper folder of the internal overlay, or an empty text for the root itself.
        """
        programs = [Path(f"{prefix}/sbin/block"), Path("/rom/sbin/block")]
        if not any(path.is_file() for path in programs):
            return None
        source = self.has_module(prefix or "/rom", "/rom")
        if self.spec["kernel_nvme"] == "builtin":
            self.load_nvme("built in")
            self.refresh("/rom")
        elif source:
            self.load_nvme(f"module of {'the internal overlay' if source == prefix else 'the squashfs'}")
        if self.nvme:
            self.refresh("/rom")
        entries = fstools.mounts(f"{prefix}/etc/config/fstab") or fstools.mounts("/rom/etc/config/fstab")
        wanted = fstools.extroot_of(entries)
        if wanted is None:
            self.say("extroot: not configured")
            return None
        match = self.find(wanted)
        if match is None:
            named = f"with UUID {wanted['uuid']}" if wanted.get("uuid") else wanted.get("label") or wanted.get("device")
            self.say(f"extroot: cannot find device {named}")
            return None
        device, found = match
        try:
            self.mount_files(device, found, "/tmp/extroot")
        except OSError as problem:
            self.say(f"extroot: mounting {device} ({found.type}) on {wanted['target']} failed: {problem}")
            return None
        if wanted["target"] == "/overlay" and not self.same_image("/tmp/extroot"):
            unmount("/tmp/extroot")
            return None
        self.say(f"switched to extroot: {device} on {wanted['target']}")
        return "overlay" if wanted["target"] == "/overlay" else "pivot"

    def same_image(self, path: str) -> bool:
        """Tell whether fstools takes the overlay at ``path``: it compares and marks one with this marker, and no other.

        ``check_extroot`` of block.c ends at once where the marker is missing, which looks as if the opposite was meant.
        """
        if not Path(path, "etc/.extroot-default").exists():
            return True
        mark = Path(path, "etc/.extroot-uuid")
        mine = fstools.squashfs_uuid("/dev/root")
        if not mark.exists():
            mark.parent.mkdir(exist_ok=True)
            mark.write_text(mine)
            return True
        if mark.read_text().strip().lower() == mine:
            return True
        self.say(f"extroot: UUID mismatch (root: {mine}, overlay: {mark.read_text().strip()})")
        return False

    def overlay(self, store: str) -> None:
        """Make the overlay root of /rom and ``store`` at /new."""
        for name in ("upper", "work"):
            os.makedirs(f"{store}/{name}", exist_ok=True)
        if os.path.exists(f"{store}/sysupgrade.tgz"):
            os.rename(f"{store}/sysupgrade.tgz", f"{store}/upper/sysupgrade.tgz")
        mount(
            f"overlayfs:{store}",
            "/new",
            "overlay",
            MS_NOATIME,
            f"lowerdir=/rom,upperdir={store}/upper,workdir={store}/work",
        )

    def wait_for_root(self, wanted: str) -> NoReturn:
        """The root is not there: the kernel waits for it, for ever or for a while, then it panics."""
        self.say(f"Waiting for root device {wanted}...")
        waits = [word for word in self.spec["cmdline"].split() if word.partition("=")[0] == "rootwait"]
        if waits and waits[-1] == "rootwait":
            raise Stopped("hang")
        self.panic("VFS: Unable to mount root fs on unknown-block(0,0)")

    def panic(self, why: str) -> NoReturn:
        """End as the kernel does."""
        self.say(f"Kernel panic - not syncing: {why}")
        raise Stopped("panic")

    def choose_stock(self) -> None:
        """root=/dev/fit0: the squashfs, and on it an extroot or the internal overlay."""
        fit = [device for device in self.spec["fit"] if device["name"] == "fit0"]
        if not fit or (self.spec["medium"] == "nand" and "ubi.block=0,fit" not in self.spec["cmdline"].split()):
            self.wait_for_root("/dev/fit0")
        mount("/dev/root", "/rom", "squashfs", MS_RDONLY)
        self.need_init("/rom")
        self.internal_or_extroot()

    def mount_internal(self) -> bool:
        """Mount the internal overlay as fstools does: an empty UBI volume gets its file system by being mounted.

        One that was never marked as ready is emptied (fstools, libfstools/overlay.c), but for what sysupgrade left.
        Returns False when there is none.
        """
        internal = self.spec["overlay_source"]
        if internal is None or not self.can_open(internal):
            return False
        if fstools.probe(internal) is None:
            done = subprocess.run(
                [
                    "/ld.so",
                    "--library-path",
                    "/lib",
                    "/bin/mke2fs",
                    "-q",
                    "-F",
                    "-t",
                    "ext4",
                    "-L",
                    "rootfs_data",
                    "-E",
                    "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
                    internal,
                ],
                preexec_fn=lambda: os.chroot("/.rig"),
                cwd="/",
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise OSError(f"mke2fs {internal}: {done.stderr}")
        mount(internal, "/tmp/overlay", "ext4", MS_NOATIME)
        state = Path("/tmp/overlay/.fs_state")
        if self.spec["slots"] and (not state.is_symlink() or os.readlink(state) != "2"):
            self.say("overlay filesystem has not been marked as ready yet")
            for path in Path("/tmp/overlay").iterdir():
                if path.name not in ("sysupgrade.tgz", "lost+found"):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            state.symlink_to("1")
        return True

    @staticmethod
    def can_open(path: str) -> bool:
        """Tell whether a device can be read."""
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            return False
        return True

    def internal_or_extroot(self) -> None:
        """With /rom mounted: put the extroot or the internal overlay on it, at /new; RAM where there is none."""
        if not self.mount_internal():
            self.say("mount_root: no usable overlay filesystem found, using tmpfs overlay")
            mount("tmpfs", "/tmp/root", "tmpfs", MS_NOATIME, "mode=755")
            self.overlay("/tmp/root")
            return
        kind = self.extroot("/tmp/overlay/upper")
        if kind is None:
            mount("/tmp/overlay", "/overlay", None, MS_MOVE)
        else:
            unmount("/tmp/overlay")
            if kind == "pivot":
                mount("/tmp/extroot", "/new", None, MS_MOVE)
                self.say("root: / is the partition, /rom the squashfs")
            else:
                mount("/tmp/extroot", "/overlay", None, MS_MOVE)
            os.rmdir("/tmp/extroot")
        os.rmdir("/tmp/overlay")
        if kind != "pivot":
            self.overlay("/overlay")
            self.say(f"root: / is an overlay of /rom and {'the extroot' if kind else 'the internal overlay'}")

    def choose_partition(self, wanted: str) -> None:
        """root=PARTUUID=...: what a kernel with the driver built in does; without it, wait or panic."""
        words = self.spec["cmdline"].split()
        device = None
        if self.nvme and self.spec["root"]:
            mount("/dev/root", "/rom", "squashfs", MS_RDONLY)
            self.refresh("/rom")
            unmount("/rom")
            device = self.partition_with(wanted)
        if device is None:
            self.wait_for_root(wanted)
        found = fstools.probe(device)
        if found is None or f"\t{found.type}\n" not in Path("/proc/filesystems").read_text():
            self.panic(f"VFS: Unable to mount root fs on {device}")
        names = [word.partition("=")[2] for word in words if word.startswith("fstools_overlay_name=")]
        Path("/dev/root").unlink(missing_ok=True)
        os.mknod("/dev/root", 0o600 | stat.S_IFBLK, os.stat(device).st_rdev)
        mount("/dev/root", "/rom", found.type, MS_NOATIME)
        self.need_init("/rom")
        known = b"fstools_overlay_name" in Path("/rom/sbin/mount_root").read_bytes()
        if names and known and names[-1] not in self.overlay_names():
            mount("/rom", "/new", None, MS_MOVE)
            self.say(f"mounting /dev/root: / is {device} itself, there is no overlay {names[-1]}")
            return
        self.say(f"root: the internal overlay is put on top of {device}")
        self.internal_or_extroot()

    def overlay_names(self) -> set[str]:
        """Return the names of every volume and partition that fstools could take for an overlay."""
        names = {"rootfs_data", *(volume["name"] for volume in self.spec["flash"]["volumes"])}
        for path in Path("/sys/class/block").glob("*/uevent"):
            names |= {line[9:] for line in path.read_text().splitlines() if line.startswith("PARTNAME=")}
        return names

    def partition_with(self, wanted: str) -> str | None:
        """Return the node of the partition with this ``PARTUUID=`` or None."""
        for line in Path("/.rig/dev/disks").read_text().splitlines():
            disk = line.split()[0]
            for row in Path(f"/.rig/dev/{disk}.seen").read_text().lower().splitlines():
                number, _, _, found, *_ = row.split(" ")
                if found == wanted.partition("=")[2].lower():
                    return f"/dev/{disk}p{number}"
        return None

    def need_init(self, root: str) -> None:
        """The kernel runs /sbin/init of its root, or panics."""
        if not Path(root, "sbin/init").exists():
            self.panic("No working init found.")

    def settle(self) -> None:
        """Move everything into the chosen root, make it the root, and do what the first boot scripts do."""
        for name in ("rom", "overlay", "dev", "proc", "sys", "tmp", ".rig"):
            if os.path.ismount(f"/{name}"):
                mount(f"/{name}", f"/new/{name}", None, MS_MOVE)
        os.makedirs("/new/mnt", exist_ok=True)
        pivot("/new", "/new/mnt")
        unmount("/mnt", MNT_DETACH)
        subprocess.run(["/sbin/ifconfig", "lo", "127.0.0.1", "up"], check=True)
        for name in ("lock", "run", "log", "sysinfo", "state", "lib", "etc"):
            os.makedirs(f"/tmp/{name}", exist_ok=True)
        Path("/tmp/sysinfo/board_name").write_text(self.spec["compatible"][0] + "\n")
        Path("/tmp/sysinfo/model").write_text(self.spec["model"] + "\n")
        if self.spec["slots"] and Path("/sysupgrade.tgz").exists():
            self.say("- config restore -")
            subprocess.run(["/bin/tar", "-C", "/", "-xzf", "/sysupgrade.tgz"], check=True)
        if not Path("/etc/config/ubootenv").exists() and self.spec["fw_env"]:
            Path("/etc/fw_env.config").write_text(self.spec["fw_env"])
            Path("/etc/config/ubootenv").write_text("config ubootenv\n\toption dev '/etc/fw_env.config'\n")
        if self.has_module("/"):
            self.load_nvme("module of the root")
        self.refresh_here()
        if Path("/sbin/block").is_file():
            self.mount_rest()

    def hold_production(self) -> None:
        """Keep the partition of the running kernel open, as fitblk does: the kernel does not read that table again."""
        for path in Path("/sys/class/block").glob("mmcblk0p*"):
            if "PARTNAME=production\n" in (path / "uevent").read_text():
                os.set_inheritable(os.open(f"/dev/{path.name}", os.O_RDONLY), True)
                Path("/.rig/held").write_text("mmcblk0\n")

    def refresh_here(self) -> None:
        """Run the partition stand-in in the final root."""
        subprocess.run(["/bin/ash", "/.rig/refresh"], cwd="/", check=True)

    def mount_rest(self) -> None:
        """Mount the fstab's other file systems, as the boot script of block-mount does."""
        for options in fstools.mounts("/etc/config/fstab"):
            target = options.get("target", "")
            if target in ("", "/", "/overlay"):
                continue
            match = self.find(options)
            if match is None:
                self.say(f"block: no device for {target}")
                continue
            try:
                self.mount_files(*match, target)
                self.say(f"block: {match[0]} on {target}")
            except OSError as problem:
                self.say(f"block: mounting {match[0]} ({match[1].type}) as {target} failed: {problem}")

    def furnish(self) -> None:
        """Give the first root the awkward things that a lived-in system has."""
        os.unlink("/usr/share/rig/00/file-0")
        os.unlink("/www/old/index.html")
        os.rmdir("/www/old")
        os.mkdir("/www/old")
        Path("/www/old/new.html").write_text("<p>new</p>\n")
        keep = Path("/etc/lived-in")
        keep.mkdir()
        (keep / "first").write_text("two names\n")
        os.link(keep / "first", keep / "second")
        (keep / "link").symlink_to("first")
        (keep / "dangling").symlink_to("/nowhere/at all")
        (keep / "-odd \"name'\nwith ümlaut").write_text("odd\n")
        (keep / "setuid").write_text("#!/bin/sh\n")
        os.chown(keep / "setuid", 0, 1)
        os.chmod(keep / "setuid", 0o4755)
        (keep / "nobody").write_text("other owner\n")
        os.chown(keep / "nobody", 65534, 65534)
        os.mkfifo(keep / "fifo")
        os.mknod(keep / "node", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        with open(keep / "sparse", "wb") as sparse:
            sparse.truncate(3 << 20)
            sparse.seek(1 << 20)
            sparse.write(b"middle")
        Path("/etc/config/lived").write_text("config lived 'in'\n\toption since 'first boot'\n")

    def boot(self) -> None:
        """Power on; returns when the root is in place."""
        self.enter_stage()
        self.protect_host()
        self.make_devices()
        roots = [word[5:] for word in self.spec["cmdline"].split() if word.startswith("root=")]
        self.say(f"Kernel command line: {self.spec['cmdline']}")
        if self.spec["kernel_nvme"] == "builtin":
            self.load_nvme("built in")
        if roots and roots[-1].startswith("PARTUUID="):
            self.choose_partition(roots[-1])
        elif roots and roots[-1] == "/dev/fit0":
            self.choose_stock()
        else:
            self.wait_for_root(roots[-1] if roots else "(none)")
        self.settle()
        if self.spec["furnish"]:
            self.furnish()
        if self.spec["slots"]:
            self.finish_start()

    def finish_start(self) -> None:
        """Mark the overlay as ready, and say what of the network works."""
        Path("/sysupgrade.tgz").unlink(missing_ok=True)
        if os.path.ismount("/overlay"):
            state = Path("/overlay/.fs_state")
            state.unlink(missing_ok=True)
            state.symlink_to("2")
        faults = Path(FAULTS)
        broken = faults.read_text().split() if faults.exists() else []
        up = [name for name in self.spec["up"] if name not in broken]
        os.makedirs("/tmp/rig/up")
        for name in ("lan", "wan", "wan6"):
            told = INTERFACE.replace("UP", "true" if name in up else "false")
            Path(f"/tmp/rig/{name}.json").write_text(told)
        for name in set(up) & {"dns", "ssh"}:
            Path(f"/tmp/rig/up/{name}").write_text("")
        Path("/tmp/rig/watchdog.json").write_text(WATCHDOG.replace("STATUS", self.spec["watchdog"]))


def main() -> int:  # noqa: RET503 - it ends as another program
    """Boot, report, and become process 1."""
    host_pid = int(os.readlink("/proc/self"))
    spec = json.loads(Path(sys.argv[1]).read_text())
    report = os.fdopen(os.dup(1), "w")
    machine = Machine(spec)
    outcome, trouble = "up", ""
    check(LIBC.sethostname(b"OpenWrt", 7), "sethostname")
    try:
        machine.boot()
    except Stopped as stop:
        outcome = str(stop)
    except (OSError, subprocess.SubprocessError) as problem:
        outcome, trouble = "broken", repr(problem)
    answer = {"pid": host_pid, "outcome": outcome, "console": machine.console, "trouble": trouble}
    print(json.dumps(answer), file=report, flush=True)
    if outcome != "up":
        return 1
    report.close()
    for descriptor in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), descriptor)
    os.closerange(3, 256)
    words = ["/sbin/procd"]
    if spec["slots"]:
        machine.hold_production()
        words.append("all" if spec["services"] else "servers")
    os.execve("/.rig/init", words, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"})


if __name__ == "__main__":
    sys.exit(main())
