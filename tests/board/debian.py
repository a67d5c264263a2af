"""What comes from Debian: packages on this system, upstream sources, and single programs of other architectures.

Everything but :func:`install` uses an apt configuration of its own, so the system's package sources and architectures
stay as they are; apt checks all of it against Debian's signed index.
"""

import os
import re
import shutil
import subprocess

from .cache import BuildError, cached, command, digest_of

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://deb.debian.org/debian"
TRIES = 3


def missing(packages):
    """Return the names that dpkg does not list as installed."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in installed]


def install(packages):
    """Install what is missing with apt-get and return a line for the report; root only."""
    names = missing(packages)
    if not names:
        return "all packages installed"
    if os.geteuid() != 0:
        raise BuildError(f"these packages are missing and only root can install them: {' '.join(names)}")
    command(["apt-get", "update"])
    command(["apt-get", "install", "-y", "--no-install-recommends", *names])
    return f"installed {' '.join(names)}"


def private_apt(folder, suite, architecture=None, sources=False):
    """Make an apt configuration in ``folder`` for one suite, fetch its index, and return the environment for apt-get.

    ``architecture`` is Debian's name (``arm64``), None for this machine's; ``sources`` asks for the source packages.
    """
    for name in ("state/lists/partial", "cache/archives/partial", "etc", "fetched"):
        (folder / name).mkdir(parents=True)
    (folder / "state/status").write_text("")
    kind = "deb-src" if sources else "deb"
    suites = dict.fromkeys((suite.removesuffix("-backports"), suite))
    (folder / "etc/sources.list").write_text(
        "".join(f"{kind} [signed-by={KEYRING}] {MIRROR} {name} main\n" for name in suites)
    )
    foreign = (
        f'APT::Architecture "{architecture}"; APT::Architectures {{ "{architecture}"; }};\n' if architecture else ""
    )
    (folder / "apt.conf").write_text(
        f'Dir::State "{folder}/state"; Dir::State::status "{folder}/state/status"; Dir::Cache "{folder}/cache";\n'
        f'Dir::Etc::sourcelist "{folder}/etc/sources.list"; Dir::Etc::sourceparts "-"; APT::Sandbox::User "root";\n'
        f'Acquire::Retries "{TRIES}"; Acquire::Languages "none";\n{foreign}'
    )
    env = {"APT_CONFIG": str(folder / "apt.conf")}
    command(["apt-get", "update"], extra_env=env)
    return env


def fetch_source(package, suite, folder):
    """Fetch the upstream archive of a source package into ``folder/archive`` and its name into ``folder/version``."""
    env = private_apt(folder / "apt", suite, sources=True)
    fetched = folder / "apt/fetched"
    command(["apt-get", "source", "--tar-only", "--download-only", package], fetched, env)
    archives = list(fetched.glob("*.orig.tar.*[!c]"))
    if len(archives) != 1:
        raise BuildError(f"{package}: expected one upstream archive, got {[path.name for path in archives]}")
    archives[0].rename(folder / "archive")
    (folder / "version").write_text(re.sub(r"\.orig.*", "", archives[0].name).replace("_", " ") + "\n")
    shutil.rmtree(folder / "apt")


def source(package, suite="trixie"):
    """Return the cached folder with the upstream ``archive`` of a Debian source package and its ``version``."""
    return cached(f"source-{package}", digest_of(suite), lambda folder: fetch_source(package, suite, folder))


def source_tree(package, folder, suite="trixie"):
    """Unpack a fresh upstream tree into ``folder/source`` and return it; ``folder/version`` says which it is."""
    fetched = source(package, suite)
    tree = folder / "source"
    tree.mkdir()
    command(["tar", "-xf", fetched / "archive", "-C", tree, "--strip-components=1"])
    shutil.copy(fetched / "version", folder / "version")
    return tree


def unpack(packages, folder, *, architecture=None, suite="bookworm", dependencies=False):
    """Fetch binary packages and unpack them into ``folder``; return one line with their versions.

    ``dependencies`` takes everything they depend on too, down to the C library, so that programs run from the folder
    alone. A backports suite (``trixie-backports``) is an addition to its base, which is then asked as well.
    """
    apt = folder / ".apt"
    env = private_apt(apt, suite, architecture)
    if dependencies:
        command(
            ["apt-get", "install", "-y", "--download-only", "--no-install-recommends", "-t", suite, *packages],
            extra_env=env,
        )
    else:
        command(["apt-get", "download", *packages], apt / "fetched", env)
    archives = sorted([*(apt / "fetched").glob("*.deb"), *(apt / "cache/archives").glob("*.deb")])
    versions = {}
    for archive in archives:
        command(["dpkg-deb", "-x", archive, folder])
        name, version = command(["dpkg-deb", "-W", "--showformat=${Package} ${Version}", archive]).split()
        versions[name] = version
    shutil.rmtree(apt)
    return ", ".join(f"{name} {versions[name]}" for name in packages)
