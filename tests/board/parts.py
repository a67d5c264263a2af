"""Build the programs of the private router root, once, into a cache.

Four parts are made, each in a folder of its own named after everything that goes into it:

``busybox``
    BusyBox from Debian's copy of the upstream archive, with the options of :file:`busybox.config`, static with musl.
``envtools``
    U-Boot's own ``fw_printenv``, static with musl.
``standins``
    The C programs of :file:`standin/`, static with musl.
``hidden``
    The real programs of this Debian system that the router needs (``sfdisk``, ``mke2fs`` and so on) with their
    shared libraries: a small tree that the router root has at ``/.rig``.

A part that fails to build raises :class:`BuildError` with the end of its log; nothing half-built stays in the cache.
"""

import contextlib
import fcntl
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Debian packages that the build or the running root needs, installed when missing.
APT_PACKAGES = (
    "fdisk f2fs-tools e2fsprogs squashfs-tools musl-tools gcc make bison flex bc bzip2 libssl-dev swig python3-dev "
    "python3-setuptools libgnutls28-dev uuid-dev dpkg-dev util-linux dash mount debian-archive-keyring"
).split()

# Debian programs that the router root runs as they are, and the name each has in the hidden tree.
REAL_PROGRAMS = {
    "mke2fs": "mke2fs",
    "e2fsck": "e2fsck",
    "mkfs.f2fs": "mkfs.f2fs",
    "fsck.f2fs": "fsck.f2fs",
    "sfdisk": "sfdisk",
    "partx": "partx",
    "blkid": "blkid",
    "dash": "dash",
}

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES = f"deb-src [signed-by={KEYRING}] http://deb.debian.org/debian trixie main\n"
LOG_LINES = 40


class BuildError(Exception):
    """A part could not be built; the text says which command failed and shows the end of its output."""


def cache_folder():
    """Return the folder that keeps built parts: ``$BOOTPLAN_CACHE``, or ``~/.cache/bootplan``."""
    return Path(os.environ.get("BOOTPLAN_CACHE") or Path.home() / ".cache" / "bootplan")


def digest_of(*pieces):
    """Return 16 hexadecimal digits that change when any piece (text, bytes or the content of a path) changes."""
    total = hashlib.sha256()
    for piece in pieces:
        data = piece.read_bytes() if isinstance(piece, Path) else piece.encode() if isinstance(piece, str) else piece
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def command(arguments, folder=None, extra_env=None):
    """Run a build command and return its output; raise :class:`BuildError` with the log's end when it fails."""
    env = {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", **(extra_env or {})}
    done = subprocess.run(arguments, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True, errors="replace")
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-LOG_LINES:])
        raise BuildError(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{end}")
    return done.stdout


@contextlib.contextmanager
def locked(folder):
    """Hold the cache's lock, so that two test sessions do not build the same part at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name, key, make):
    """Return the folder of part ``name`` with ``key``, calling ``make(folder)`` when the cache does not have it."""
    final = cache_folder() / f"{name}-{key}"
    if final.is_dir():
        return final
    with locked(cache_folder()):
        if final.is_dir():
            return final
        work = cache_folder() / f".{name}-{key}.part"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            make(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def missing_packages():
    """Return the names from :data:`APT_PACKAGES` that dpkg does not list as installed."""
    done = subprocess.run(["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *APT_PACKAGES],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in APT_PACKAGES if name not in installed]


def install_packages():
    """Install what is missing with apt-get and return a line for the report; root only."""
    names = missing_packages()
    if not names:
        return "all packages installed"
    if os.geteuid() != 0:
        raise BuildError(f"these packages are missing and only root can install them: {' '.join(names)}")
    command(["apt-get", "update"])
    command(["apt-get", "install", "-y", "--no-install-recommends", *names])
    return f"installed {' '.join(names)}"


def upstream_source(package, folder):
    """Fetch and unpack the upstream archive of a Debian trixie source package; return the unpacked tree.

    A private apt configuration is used, so the system's own package sources stay as they are; apt checks the
    archive against Debian's signed index.
    """
    apt = folder / "apt"
    for name in ("state/lists/partial", "cache/archives/partial", "etc", "fetched"):
        (apt / name).mkdir(parents=True)
    (apt / "state/status").write_text("")
    (apt / "etc/sources.list").write_text(SOURCES)
    (apt / "apt.conf").write_text(
        f'Dir::State "{apt}/state"; Dir::State::status "{apt}/state/status"; Dir::Cache "{apt}/cache";\n'
        f'Dir::Etc::sourcelist "{apt}/etc/sources.list"; Dir::Etc::sourceparts "-"; APT::Sandbox::User "root";\n'
    )
    env = {"APT_CONFIG": str(apt / "apt.conf")}
    command(["apt-get", "update"], extra_env=env)
    command(["apt-get", "source", "--tar-only", "--download-only", package], apt / "fetched", env)
    archives = list((apt / "fetched").glob("*.orig.tar.*[!c]"))
    if len(archives) != 1:
        raise BuildError(f"{package}: expected one upstream archive, got {[path.name for path in archives]}")
    tree = folder / "source"
    tree.mkdir()
    command(["tar", "-xf", archives[0], "-C", tree, "--strip-components=1"])
    (folder / "version").write_text(re.sub(r"\.orig.*", "", archives[0].name).replace("_", " ") + "\n")
    shutil.rmtree(apt)
    return tree


def musl_compiler(folder):
    """Return a compiler command for static programs, with the kernel's headers that musl itself does not bring."""
    headers = folder / "headers"
    headers.mkdir()
    machine = command(["gcc", "-print-multiarch"]).strip()
    for name in ("linux", "asm-generic", "mtd"):
        (headers / name).symlink_to(f"/usr/include/{name}")
    (headers / "asm").symlink_to(f"/usr/include/{machine}/asm")
    return f"musl-gcc -static -idirafter {headers}"


def option_names():
    """Return the BusyBox option names listed in :file:`busybox.config`."""
    lines = (HERE / "busybox.config").read_text().split("\n")
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def make_busybox(folder):
    """Build BusyBox into ``folder/bin/busybox`` and the applets' paths into ``folder/links``."""
    tree = upstream_source("busybox", folder)
    names = [*option_names(), "STATIC"]
    command(["make", "allyesconfig"], tree)
    config = tree / ".config"
    line = re.compile(r"^(?:# )?CONFIG_(\w+)(?:=y| is not set)$", re.M)
    config.write_text(line.sub(lambda at: f"CONFIG_{at[1]}=y" if at[1] in names else f"# CONFIG_{at[1]} is not set",
                               config.read_text()))
    command(["sh", "-c", "yes '' | make oldconfig"], tree)
    got = set(re.findall(r"^CONFIG_(\w+)=y$", config.read_text(), re.M))
    lost = [name for name in names if name not in got]
    if lost:
        raise BuildError(f"BusyBox's configuration did not take these options: {' '.join(lost)}")
    command(["make", f"-j{os.cpu_count()}", f"CC={musl_compiler(folder)}", "busybox", "busybox.links"], tree)
    (folder / "bin").mkdir()
    shutil.copy(tree / "busybox", folder / "bin/busybox")
    shutil.copy(tree / "busybox.links", folder / "links")
    shutil.rmtree(tree)


def make_envtools(folder):
    """Build U-Boot's ``fw_printenv`` into ``folder/bin/fw_printenv``.

    One line is changed: the tool takes every path that starts with ``/dev/ubi`` for a UBI volume and then wants
    UBI's own calls, which the loop devices that stand for the two volumes here do not have.
    """
    tree = upstream_source("u-boot", folder)
    source = tree / "tools/env/fw_env.c"
    text = source.read_text()
    changed = text.replace('#define UBI_DEV_START "/dev/ubi"', '#define UBI_DEV_START "/dev/no-ubi"')
    if changed == text:
        raise BuildError("fw_env.c: the line that names /dev/ubi was not found")
    source.write_text(changed)
    command(["make", "tools-only_defconfig"], tree)
    command(["make", f"-j{os.cpu_count()}", f"CC={musl_compiler(folder)}", "HOSTCC=gcc", "CROSS_BUILD_TOOLS=1",
             "envtools"], tree)
    (folder / "bin").mkdir()
    shutil.copy(tree / "tools/env/fw_printenv", folder / "bin/fw_printenv")
    shutil.rmtree(tree)


def standin_sources():
    """Return the C sources of the stand-ins."""
    return sorted((HERE / "standin").glob("*.c"))


def make_standins(folder):
    """Compile every stand-in into ``folder/bin``."""
    (folder / "bin").mkdir()
    compiler = musl_compiler(folder).split()
    for source in standin_sources():
        command([*compiler, "-Os", "-Wall", "-Wextra", "-Werror", "-o", folder / "bin" / source.stem, source])
    (folder / "version").write_text(f"{len(standin_sources())} programs\n")


def real_program(name):
    """Return the path of a real program of this system."""
    found = shutil.which(name, path=SEARCH_PATH)
    if not found:
        raise BuildError(f"{name} is not installed")
    return Path(found)


def make_hidden(folder):
    """Copy the real programs and the shared libraries they load into ``folder/{bin,lib}``; the loader is ``ld.so``."""
    (folder / "bin").mkdir()
    (folder / "lib").mkdir()
    for target, name in REAL_PROGRAMS.items():
        path = real_program(name)
        shutil.copy(path, folder / "bin" / target)
        for library in re.findall(r"(/\S+) \(0x", command(["ldd", path])):
            target_name = "ld.so" if "/ld-linux" in library else Path("lib") / Path(library).name
            shutil.copy(library, folder / target_name)
    (folder / "version").write_text(installed_versions() + "\n")


def installed_versions():
    """Return the versions of the Debian packages that the hidden tree is copied from, as one line."""
    names = ["dash", "e2fsprogs", "f2fs-tools", "fdisk", "libc6", "util-linux"]
    return command(["dpkg-query", "-W", "-f=${Package} ${Version}, ", *names]).strip(", ")


def named(paths):
    """Return the paths and their names, for a key that changes with either a file's content or its name."""
    return [piece for path in paths for piece in (path, path.name)]


def recipe_of(make):
    """Return the source text of the functions that make a part, which belongs to the part's key."""
    return "".join(inspect.getsource(function) for function in (make, upstream_source, musl_compiler))


def build(report=lambda line: None):
    """Build or find every part and return ``{name: folder}``; ``report`` gets one line for each with its seconds."""
    start = time.monotonic()
    report(f"packages   {install_packages()}, {time.monotonic() - start:.1f} s")
    parts = {}
    for name, make, key in (
        ("busybox", make_busybox, lambda: digest_of(recipe_of(make_busybox), HERE / "busybox.config")),
        ("envtools", make_envtools, lambda: digest_of(recipe_of(make_envtools))),
        ("standins", make_standins, lambda: digest_of(recipe_of(make_standins), *named(standin_sources()))),
        ("hidden", make_hidden, lambda: digest_of(recipe_of(make_hidden), repr(REAL_PROGRAMS), installed_versions())),
    ):
        start = time.monotonic()
        parts[name] = cached(name, key(), make)
        version = (parts[name] / "version").read_text().strip()
        report(f"{name:10} {version}, {time.monotonic() - start:.1f} s")
    return parts
