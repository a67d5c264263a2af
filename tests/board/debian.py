"""What comes from Debian: packages on this system, upstream sources, and single programs of other architectures.

An index may name what the mirror does not serve, or serves damaged. So everything but :func:`install` is resolved over
candidates: the newest version first, then older ones of the same series. What was taken, and what was passed over and
why, stands in the file ``version`` of what was fetched: one line, which is printed and goes into the keys of all that
is built of it.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .apt import Apt, newest_first, package_and_version, reason
from .cache import BuildError, cached, command, digest_of, locked, recipe_of

SHOWN = 6
PATIENCE = "DPkg::Lock::Timeout=600"
HINT = "run 'apt-get update' as root and try again, or later"


def missing(packages: Sequence[str]) -> list[str]:
    """Return the names that dpkg does not list as installed."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in installed]


def install(packages: Sequence[str]) -> str:
    """Install what is missing with apt-get and return a line for the report; root only."""
    names = missing(packages)
    if not names:
        return "all packages installed"
    if os.geteuid() != 0:
        raise BuildError(
            f"these packages are missing: {' '.join(names)}; as root, run: apt-get install {' '.join(names)}"
        )
    with locked("packages"):
        names = missing(packages)
        if not names:  # another process has installed them meanwhile
            return "all packages installed"
        command(["apt-get", "update"])
        command(["apt-get", "install", "-y", "--no-install-recommends", "-o", PATIENCE, *names])
    return f"installed {' '.join(names)}"


@dataclass
class Choice:
    """Which version was taken, and which were passed over: {name and version: reason}."""

    taken: list[str] = field(default_factory=list)
    passed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as one line."""
        passed = "; ".join(f"{name}: {why}" for name, why in self.passed.items())
        return ", ".join(self.taken) + (f" (passed over {passed})" if passed else "")

    def failure(self, package: str) -> BuildError:
        """Return the error for a package of which nothing could be had."""
        told = [f"{name}: {why}" for name, why in self.passed.items()] or ["the index names none"]
        tried = "; ".join(told[:SHOWN]) + (f" and {len(told) - SHOWN} more" if len(told) > SHOWN else "")
        return BuildError(f"{package} cannot be had from this machine's mirror ({tried}); {HINT}")


@dataclass(frozen=True)
class Source:
    """An upstream archive of Debian's: the source package, the series that our changes are for, and another way.

    ``packaged`` is a binary package that carries the same tree as ``/usr/src/NAME.tar.xz``, for when no source package
    of the series can be had.
    """

    package: str
    series: str
    packaged: str = ""
    suite: str = "trixie"


LINUX = Source("linux", "6.12", packaged="linux-source-6.12")
UBOOT = Source("u-boot", "2025.01")
BUSYBOX = Source("busybox", "1.37")


def upstream(version: str) -> str:
    """Return the upstream part of a Debian version: ``1.37.0`` of ``1:1.37.0-6``."""
    return re.sub(r"^\d+:|-[^-]*$", "", version)


def of_series(version: str, series: str) -> bool:
    """Tell whether a version is of an upstream series: ``6.12.8-1`` is of ``6.12``, ``6.120-1`` is not."""
    return re.match(re.escape(series) + r"(?![0-9])", upstream(version)) is not None


def versions(listing: str, series: str) -> list[str]:
    """Return the versions that stand in a listing of apt-cache and are of a series, newest first."""
    found = re.findall(r"^Version: (\S+)", listing, re.MULTILINE)
    return newest_first(version for version in found if of_series(version, series))


def fetch_version(apt: Apt, source: Source, version: str, folder: Path) -> Path:
    """Fetch the upstream archive of one version of a source package and return where it is."""
    apt.get("source", "--tar-only", "--download-only", "--only-source", f"{source.package}={version}", folder=folder)
    archives = list(folder.glob("*.orig.tar.*[!c]"))
    if len(archives) != 1:
        raise BuildError(f"{len(archives)} upstream archives instead of one")
    return archives[0]


def fetch_packaged(apt: Apt, source: Source, version: str, folder: Path) -> Path:
    """Fetch one version of the binary package that carries the tree and return where the archive is."""
    apt.get("download", f"{source.packaged}={version}", folder=folder)
    command(["dpkg-deb", "-x", next(folder.glob("*.deb")), folder / "tree"])
    return folder / f"tree/usr/src/{source.packaged}.tar.xz"


Fetch = Callable[[Apt, Source, str, Path], Path]


def candidates(apt: Apt, source: Source) -> Iterator[tuple[str, str, Fetch]]:
    """Yield (package, version, what fetches it) in the order in which they are tried."""
    for version in versions(apt.ask("showsrc", "--only-source", source.package), source.series):
        yield source.package, version, fetch_version
    if source.packaged:
        for version in versions(apt.ask("show", "--all-versions", source.packaged), source.series):
            yield source.packaged, version, fetch_packaged


def fetch_source(source: Source, folder: Path) -> None:
    """Fetch the first candidate that can be had into ``folder/archive``, and say which it is in ``folder/version``."""
    apt = Apt(folder / "apt", (source.suite,), sources=True)
    choice = Choice()
    for package, version, fetch in candidates(apt, source):
        fetched = folder / "apt/fetched"
        fetched.mkdir()
        try:
            fetch(apt, source, version, fetched).rename(folder / "archive")
        except BuildError as failure:
            choice.passed[f"{package} {version}"] = reason(failure)
            shutil.rmtree(fetched)
            continue
        choice.taken.append(f"{package} {version}")
        break
    else:
        raise choice.failure(f"{source.package} {source.series}")
    (folder / "version").write_text(f"{choice}\n")
    shutil.rmtree(folder / "apt")


def source_folder(source: Source) -> Path:
    """Return the cached folder with the ``archive`` of a source and its ``version``."""
    key = digest_of(repr(source), recipe_of(fetch_source, fetch_version, fetch_packaged))
    return cached(f"source-{source.package}", key, lambda folder: fetch_source(source, folder))


def source_key(source: Source) -> str:
    """Return what belongs to the key of everything that is built of a source: the recipe, and what was taken."""
    return recipe_of(source_tree) + (source_folder(source) / "version").read_text()


def source_tree(source: Source, folder: Path) -> Path:
    """Unpack a fresh upstream tree into ``folder/source`` and return it; ``folder/version`` says which it is."""
    fetched = source_folder(source)
    tree = folder / "source"
    tree.mkdir()
    command(["tar", "-xf", fetched / "archive", "-C", tree, "--strip-components=1"])
    shutil.copy(fetched / "version", folder / "version")
    return tree


def offered(apt: Apt, words: Sequence[str]) -> dict[str, str]:
    """Return {package: version} of everything that apt-get with these words takes, whether it is fetched or not yet."""
    listing = apt.get("-o", f"Dir::Cache::archives={apt.folder}/none", *words, "--print-uris", "-qq")
    names = (line.split()[1] for line in listing.splitlines() if line.startswith("'"))
    return dict(package_and_version(name) for name in names)


def fetch_packages(apt: Apt, words: Sequence[str]) -> tuple[Choice, list[Path]]:
    """Run apt-get with words that fetch packages until it has all; a version that cannot be had is passed over.

    Return what was chosen, and the archives.
    """
    choice = Choice()
    while True:
        try:
            wanted = offered(apt, words)
        except BuildError as failure:
            if not choice.passed:
                raise
            raise choice.failure(words[-1]) from failure
        try:
            apt.get(*words, folder=apt.archive_folder)
        except BuildError as failure:
            lost = [one for one in wanted.items() if one not in apt.archives()]
            if not lost:
                raise
            for name, version in lost:
                choice.passed[f"{name} {version}"] = reason(failure, name)
                apt.forbid(name, version)
            continue
        choice.taken += [f"{name} {wanted[name]}" for name in words if name in wanted]
        return choice, [apt.archives()[one] for one in wanted.items()]


def unpack(
    packages: Sequence[str],
    folder: Path,
    *,
    architecture: str | None = None,
    suite: str = "bookworm",
    dependencies: bool = False,
) -> str:
    """Fetch binary packages and unpack them into ``folder``; return one line that says which.

    ``dependencies`` unpacks everything they depend on too, down to the C library, so that programs run from the folder
    alone. A backports suite (``trixie-backports``) is an addition to its base, which is then asked as well.
    """
    try:
        apt = Apt(folder / ".apt", dict.fromkeys((suite.removesuffix("-backports"), suite)), architecture)
        whole = ["install", "--download-only", "-y", "--no-install-recommends", "-t", suite]
        choice, archives = fetch_packages(apt, [*(whole if dependencies else ["download"]), *packages])
        for archive in archives:
            command(["dpkg-deb", "-x", archive, folder])
    finally:
        shutil.rmtree(folder / ".apt", ignore_errors=True)
    return str(choice)


def unpack_first(packages: Sequence[str], folder: Path) -> str:
    """Unpack the first of these packages that can be had into ``folder``; return one line that says which."""
    choice = Choice()
    for package in packages[:SHOWN]:
        try:
            choice.taken.append(unpack([package], folder))
        except BuildError as failure:
            choice.passed[package] = reason(failure)
            continue
        return str(choice)
    raise choice.failure(packages[0] if packages else "a package of this kind")
