"""An apt of its own: this machine's mirror and options, with another suite or architecture and a state of its own.

The mirror is the one that this machine's apt takes Debian from, in either form that apt reads (one-line and deb822),
with the options that stand beside it: keys, `trusted`, `by-hash` and so on. Proxies and all other settings are in apt's
configuration, which is read as ever. The system's own sources, architectures and packages stay as they are.
"""

import os
import re
import subprocess
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .cache import BuildError, command

TRIES = 3
ONE_LINE = re.compile(r"deb(?:-src)?\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+\S+")
# What another suite has of its own; all other fields of an entry are taken as they stand.
REPLACED = {"types", "suites", "components", "architectures", "enabled"}
# The options of a line that a stanza spells otherwise; all others have one name.
FIELDS = {"lang": "Languages", "target": "Targets"}


@dataclass(frozen=True)
class Entry:
    """A place that this machine's apt takes packages from: its addresses, and the other fields of its deb822 form."""

    uris: tuple[str, ...]
    fields: tuple[str, ...] = ()

    def text(self, types: str, suites: Iterable[str]) -> str:
        """Return the entry with other types (``deb``, ``deb-src``) and suites, as a deb822 stanza."""
        lines = [f"Types: {types}", f"URIs: {' '.join(self.uris)}", f"Suites: {' '.join(suites)}", "Components: main"]
        return "\n".join([*lines, *self.fields]) + "\n\n"


def one_line_entries(text: str) -> Iterator[Entry]:
    """Yield the entries of a file in the form ``deb [option=value] uri suite component``."""
    for line in text.splitlines():
        if found := ONE_LINE.match(line.strip()):
            options = dict(word.split("=", 1) for word in (found["options"] or "").split() if "=" in word)
            options = {name.rstrip("+-"): value.replace(",", " ") for name, value in options.items()}
            fields = tuple(f"{FIELDS.get(name, name)}: {value}" for name, value in options.items() if name != "arch")
            yield Entry((found["uri"],), fields)


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield the stanzas of a deb822 text as {field: value with its following lines}."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines)):
        if fields := re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", block, re.MULTILINE):
            yield dict(fields)


def deb822_entries(text: str) -> Iterator[Entry]:
    """Yield the entries of a file in the form of stanzas."""
    for stanza in stanzas(text):
        named = {name.lower(): value.strip() for name, value in stanza.items()}
        if named.get("enabled", "yes").lower() not in ("no", "false", "0") and "uris" in named:
            kept = (f"{name}:{value}" for name, value in stanza.items() if name.lower() not in {*REPLACED, "uris"})
            yield Entry(tuple(named["uris"].split()), tuple(kept))


def entries() -> Iterator[Entry]:
    """Yield every entry of this machine's apt."""
    places = dict(
        re.findall(
            r"^(\w+)='(.*)'$",
            command(["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]),
            re.MULTILINE,
        )
    )
    folder = Path(places.get("PARTS", "/nowhere"))
    files = [Path(places["LIST"])] if places.get("LIST") else []
    for path in [*files, *(sorted(folder.iterdir()) if folder.is_dir() else [])]:
        if path.suffix == ".sources":
            yield from deb822_entries(path.read_text())
        elif path.suffix == ".list" and path.is_file():
            yield from one_line_entries(path.read_text())


def debian_uris() -> set[str]:
    """Return the addresses of which apt knows, from their signed Release files, that they are Debian's archive."""
    told = command(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"])
    return {line.split("|", 2)[2].rstrip("/") for line in told.splitlines() if line.startswith("Debian|Debian|")}


def mirrors() -> list[Entry]:
    """Return the entries that are Debian's archive, each once; :class:`BuildError` when there is none."""
    known = debian_uris()
    if not known and os.geteuid() == 0:
        command(["apt-get", "update"])
        known = debian_uris()
    found = [one for one in entries() if any(uri.rstrip("/") in known for uri in one.uris)]
    if not found:
        raise BuildError(
            "this machine's apt has no source of Debian's archive; add one, and run 'apt-get update' as root"
        )
    return list(dict.fromkeys(found))


class Apt:
    """An apt in a folder, for some suites of Debian's archive.

    ``architecture`` is Debian's name (``arm64``), None for this machine's; ``sources`` asks for the source packages.
    """

    def __init__(
        self, folder: Path, suites: Iterable[str], architecture: str | None = None, *, sources: bool = False
    ) -> None:
        """Make the folder and fetch the suites' index."""
        self.folder = folder
        for name in ("state/lists/partial", "cache/archives/partial", "sources", "none/partial"):
            (folder / name).mkdir(parents=True)
        for name in ("state/status", "list"):
            (folder / name).write_text("")
        text = "".join(one.text("deb deb-src" if sources else "deb", suites) for one in mirrors())
        (folder / "sources/debian.sources").write_text(text)
        settings = {
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "state/status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": folder / "list",
            "Dir::Etc::sourceparts": folder / "sources",
            "Dir::Etc::preferences": folder / "preferences",
            "Dir::Etc::preferencesparts": folder / "none",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::Retries": TRIES,
            "Acquire::Languages": "none",
        }
        if architecture:
            settings |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
        self.options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        self.get("update")

    def get(self, *words: str, folder: Path | None = None) -> str:
        """Run ``apt-get`` and return its output; :class:`BuildError` as :func:`~board.cache.command`."""
        return command(["apt-get", *self.options, *words], folder)

    def ask(self, *words: str) -> str:
        """Run ``apt-cache`` and return its output, empty when it knows nothing of what is asked."""
        try:
            return command(["apt-cache", *self.options, *words])
        except BuildError:
            return ""

    @property
    def archive_folder(self) -> Path:
        """Return the folder that packages are fetched to."""
        return self.folder / "cache/archives"

    def archives(self) -> dict[tuple[str, str], Path]:
        """Return {(package, version): path} of what was fetched whole: apt has compared the checksums."""
        return {package_and_version(path.name): path for path in self.archive_folder.glob("*.deb")}

    def forbid(self, package: str, version: str) -> None:
        """See to it that this version of a package is not taken."""
        with open(self.folder / "preferences", "a") as preferences:
            preferences.write(f"Package: {package}\nPin: version {version}\nPin-Priority: -1\n\n")


def newest_first(versions: Iterable[str]) -> list[str]:
    """Return versions in Debian's order, each once."""
    ordered: list[str] = []
    for version in dict.fromkeys(versions):
        place = next((at for at, other in enumerate(ordered) if newer(version, other)), len(ordered))
        ordered.insert(place, version)
    return ordered


def newer(one: str, other: str) -> bool:
    """Tell whether a version is later than another in Debian's order."""
    return subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0


def package_and_version(name: str) -> tuple[str, str]:
    """Return package and version of the name of an archive: ``libc6_2.36-9_amd64.deb``."""
    package, version, _ = urllib.parse.unquote(name).split("_")
    return package, version


def reason(failure: BuildError, name: str = "") -> str:
    """Return what apt says of a failed fetch, without the address: ``404 Not Found``, ``Hash Sum mismatch``.

    ``name`` is the package's, when several were fetched at once.
    """
    errors = [line.removeprefix("E:").strip() for line in str(failure).splitlines() if line.startswith("E:")]
    of_it = [line for line in errors if f"/{name}_" in urllib.parse.unquote(line)] or errors or [str(failure)]
    said = re.sub(r"Failed to fetch \S+|\[IP: [^]]*\]", "", of_it[0].splitlines()[0])
    return re.sub(r"\s+", " ", said).strip()
