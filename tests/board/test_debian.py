"""What the bench takes from Debian: which version, from which mirror, and what it says when there is none.

The archive is a small one of our own behind a proxy on this machine, with real packages, and apt is the real one; it
reads a configuration in which that archive is all that this machine knows of.
"""

import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import debian
from .apt import Entry, deb822_entries, newest_first, one_line_entries
from .cache import BuildError, command
from .debian import Source

PACKAGE = Source("tiny", "6.12", packaged="tiny-source-6.12")
MIRROR = "http://debian.invalid/debian"
ONE_LINE = f"# a comment\ndeb [trusted=yes arch=amd64 by-hash=no] {MIRROR} bookworm main contrib\n"
DEB822 = f"# a comment\nTypes: deb\nURIs: {MIRROR}/\nSuites: bookworm\n# another\nComponents: main\nTrusted: yes\n"
SECURITY = (
    "\nTypes: deb\nURIs: http://debian.invalid/security\nSuites: bookworm-security\nComponents: main\nTrusted: yes\n"
)


def stanza(**fields: object) -> str:
    """Return a stanza of an index."""
    return "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in fields.items()) + "\n"


def sha256(data: bytes) -> str:
    """Return a checksum as an index has it."""
    return hashlib.sha256(data).hexdigest()


class Archive:
    """An archive of Debian's form in memory: ``files`` are {path: bytes}, ``asked`` is every address asked for."""

    def __init__(self, folder: Path) -> None:
        """Make an empty one; ``folder`` is for the packages while they are made."""
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.sources: list[str] = []
        self.packages: list[str] = []

    def add_source(self, version: str, content: bytes = b"") -> str:
        """Add a version of the source package ``tiny`` and return the path of its upstream archive."""
        upstream = debian.upstream(version)
        name = f"tiny_{upstream}.orig.tar.xz"
        data = content or tarball({f"tiny-{upstream}/version": version.encode()})
        self.files[f"pool/{name}"] = data
        self.sources.append(
            stanza(
                Package="tiny",
                Binary="tiny",
                Version=version,
                Format="3.0 (quilt)",
                Directory="pool",
                Files=f"\n {hashlib.md5(data, usedforsecurity=False).hexdigest()} {len(data)} {name}",
                Checksums_Sha256=f"\n {sha256(data)} {len(data)} {name}",
            )
        )
        return f"pool/{name}"

    def add_package(self, name: str, version: str, depends: str = "", files: dict[str, bytes] | None = None) -> str:
        """Add a binary package and return its path in the archive."""
        tree = self.folder / f"{name}_{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        fields = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "nobody <nobody@invalid>"}
        fields |= {"Depends": depends} if depends else {}
        (tree / "DEBIAN/control").write_text(
            "".join(f"{key}: {value}\n" for key, value in fields.items()) + "Description: x\n"
        )
        for path, data in {f"usr/share/{name}": version.encode(), **(files or {})}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(data)
        command(["dpkg-deb", "-b", "--root-owner-group", tree, f"{tree}.deb"])
        data = Path(f"{tree}.deb").read_bytes()
        path = f"pool/{name}_{version}_all.deb"
        self.files[path] = data
        self.packages.append(stanza(**fields, Filename=path, Size=len(data), SHA256=sha256(data)))
        return path

    def truncate(self, path: str) -> None:
        """Serve the first half of a file only."""
        self.files[path] = self.files[path][: len(self.files[path]) // 2]

    def spoil(self, path: str) -> None:
        """Serve a file of the right length and with a wrong checksum."""
        self.files[path] = bytes(len(self.files[path]))

    def lose(self, path: str) -> None:
        """Serve a file no more that the index still names."""
        del self.files[path]

    def index(self, place: str, suite: str, label: str = "Debian") -> dict[str, bytes]:
        """Return the indexes of a suite: {address without http://: bytes}."""
        lists = {
            "main/binary-amd64/Packages": "".join(self.packages).encode(),
            "main/source/Sources": "".join(self.sources).encode(),
        }
        sums = "".join(f" {sha256(data)} {len(data)} {name}\n" for name, data in lists.items())
        release = stanza(
            Origin="Debian",
            Label=label,
            Suite=suite,
            Codename=suite,
            Date="Thu, 01 Jan 2026 00:00:00 UTC",
            Architectures="amd64",
            Components="main",
        ).strip()
        lists["Release"] = f"{release}\nSHA256:\n{sums}".encode()
        return {f"debian.invalid/{place}/dists/{suite}/{name}": data for name, data in lists.items()}

    def served(self, path: str) -> bytes | None:
        """Return what stands at an address, without its ``http://``."""
        everything = {f"debian.invalid/debian/{name}": data for name, data in self.files.items()}
        for suite in ("bookworm", "trixie"):
            everything |= self.index("debian", suite)
        everything |= self.index("security", "bookworm-security", "Debian-Security")
        return everything.get(path)


def tarball(files: dict[str, bytes]) -> bytes:
    """Return an upstream archive with these files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def proxy_of(archive: Archive) -> http.server.ThreadingHTTPServer:
    """Return a proxy that knows one host only: the archive's."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        """A request with a whole address is one to a proxy."""

        def do_GET(self) -> None:
            """Answer from the archive."""
            archive.asked.append(self.path)
            data = archive.served(self.path.removeprefix("http://"))
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """An empty archive, and a machine whose apt knows this one only."""
    machine = tmp_path / "machine"
    for name in ("state/lists/partial", "cache/archives/partial", "sources", "parts", "built"):
        (machine / name).mkdir(parents=True)
    (machine / "state/status").write_text("")
    made = Archive(machine / "built")
    made.add_package("base-files", "12")
    with proxy_of(made) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {
            "Dir::Etc::main": machine / "none",
            "Dir::Etc::parts": machine / "parts",
            "Dir::Etc::sourcelist": machine / "sources.list",
            "Dir::Etc::sourceparts": machine / "sources",
            "Dir::State": machine / "state",
            "Dir::State::status": machine / "state/status",
            "Dir::Cache": machine / "cache",
            "Acquire::http::Proxy": f"http://127.0.0.1:{server.server_port}",
        }
        (machine / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        (machine / "sources/debian.sources").write_text(DEB822 + SECURITY)
        monkeypatch.setenv("APT_CONFIG", str(machine / "apt.conf"))
        monkeypatch.setenv("BOOTPLAN_CACHE", str(tmp_path / "cache"))
        yield made
        server.shutdown()


def took(source: Source = PACKAGE) -> tuple[str, bytes]:
    """Return what stands in ``version``, and the archive that was taken."""
    folder = debian.source_folder(source)
    assert sorted(path.name for path in folder.iterdir()) == ["archive", "version"]
    return (folder / "version").read_text(), (folder / "archive").read_bytes()


def test_the_newest_source_of_the_series_is_taken(archive: Archive) -> None:
    """Not one of another series, however new, and however it begins."""
    for version in ("6.12.9-1", "6.12.38-1", "6.120.1-1", "6.13-1"):
        archive.add_source(version)

    assert took()[0] == "tiny 6.12.38-1\n"


@pytest.mark.quick
def test_what_the_mirror_does_not_have_whole_is_passed_over(archive: Archive) -> None:
    """One is not served, one is truncated, one is other bytes: the one after these is taken, and all of it is said."""
    paths = {number: archive.add_source(f"6.12.{number}-1") for number in (38, 107, 113, 117)}
    archive.lose(paths[117])
    archive.truncate(paths[113])
    archive.spoil(paths[107])

    version, data = took()

    assert data == archive.files[paths[38]]
    assert version.startswith("tiny 6.12.38-1 (passed over tiny 6.12.117-1: 404 Not Found; tiny 6.12.113-1: ")
    assert "tiny 6.12.113-1: File has unexpected size" in version
    assert "tiny 6.12.107-1: Hash Sum mismatch)" in version
    assert version.count("\n") == 1


def test_the_binary_package_with_the_tree_is_the_last_way(archive: Archive) -> None:
    """The kernel's tree is in linux-source-6.12, too."""
    archive.lose(archive.add_source("6.12.117-1"))
    tree = tarball({"x/y": b"z"})
    archive.add_package(PACKAGE.packaged, "6.12.117-1", files={f"usr/src/{PACKAGE.packaged}.tar.xz": tree})

    version, data = took()

    assert version == "tiny-source-6.12 6.12.117-1 (passed over tiny 6.12.117-1: 404 Not Found)\n"
    assert data == tree


def test_nothing_to_be_had_is_one_line_with_what_to_do(archive: Archive) -> None:
    """What was tried, why each failed, and the next command."""
    archive.lose(archive.add_source("6.12.117-1"))
    archive.add_source("6.13-1")

    with pytest.raises(BuildError) as caught:
        debian.source_folder(PACKAGE)

    assert str(caught.value) == (
        "tiny 6.12 cannot be had from this machine's mirror (tiny 6.12.117-1: 404 Not Found); "
        "run 'apt-get update' as root and try again, or later"
    )


def test_what_was_taken_is_in_the_key(archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is built of one version is not taken for built of another; what was fetched stays."""
    archive.add_source("6.12.38-1")
    first = debian.source_key(PACKAGE)
    lost = archive.add_source("6.12.107-1")
    assert debian.source_key(PACKAGE) == first

    monkeypatch.setenv("BOOTPLAN_CACHE", str(tmp_path / "second"))
    second = debian.source_key(PACKAGE)
    archive.lose(lost)
    monkeypatch.setenv("BOOTPLAN_CACHE", str(tmp_path / "third"))
    third = debian.source_key(PACKAGE)

    assert len({first, second, third}) == 3


def test_a_tree_is_unpacked_with_its_version(archive: Archive, tmp_path: Path) -> None:
    """The version stands beside the tree, for the report of what is built of it."""
    archive.add_source("6.12.38-1")

    tree = debian.source_tree(PACKAGE, tmp_path)

    assert (tree / "version").read_bytes() == b"6.12.38-1"
    assert (tmp_path / "version").read_text() == "tiny 6.12.38-1\n"


@pytest.mark.parametrize("damage", ["lose", "truncate", "spoil"])
@pytest.mark.parametrize("name", ["program", "library"])
def test_a_package_or_what_it_depends_on_is_passed_over(
    archive: Archive, tmp_path: Path, damage: str, name: str
) -> None:
    """The older version of just the package that cannot be had is unpacked, and of all others the newest."""
    paths = {}
    for version in ("1-1", "1-2"):
        paths["program", version] = archive.add_package("program", version, depends="library")
        paths["library", version] = archive.add_package("library", version)
    getattr(archive, damage)(paths[name, "1-2"])

    said = debian.unpack(["program"], tmp_path / "root", suite="trixie", dependencies=True)

    unpacked = {path.name: path.read_text() for path in (tmp_path / "root/usr/share").iterdir()}
    assert unpacked == {"program": "1-2", "library": "1-2", name: "1-1"}
    assert said.startswith(f"program {unpacked['program']} (passed over {name} 1-2: ")
    assert not (tmp_path / "root/.apt").exists()


def test_a_package_alone_is_unpacked_without_what_it_depends_on(archive: Archive, tmp_path: Path) -> None:
    """The newest of it that can be had."""
    archive.add_package("library", "1-1")
    archive.add_package("program", "1-1", depends="library")
    archive.lose(archive.add_package("program", "1-2", depends="library"))

    assert debian.unpack(["program"], tmp_path / "root") == "program 1-1 (passed over program 1-2: 404 Not Found)"
    assert [path.name for path in (tmp_path / "root/usr/share").iterdir()] == ["program"]


def test_versions_are_told_in_the_order_in_which_they_were_asked_for(archive: Archive, tmp_path: Path) -> None:
    """Whoever reads the line finds the package that it is about in front."""
    for name in ("a", "z"):
        archive.add_package(name, "1-1")

    assert debian.unpack(["z", "a"], tmp_path / "root", dependencies=True) == "z 1-1, a 1-1"


def test_the_first_of_several_packages_is_unpacked(archive: Archive, tmp_path: Path) -> None:
    """Each kernel of Debian's is a package of another name."""
    archive.lose(archive.add_package("kernel-2", "2-1"))
    archive.add_package("kernel-1", "1-1")

    said = debian.unpack_first(["kernel-3", "kernel-2", "kernel-1"], tmp_path / "root")

    assert said.startswith("kernel-1 1-1 (passed over kernel-3: ")
    assert "kernel-2: " in said


@pytest.mark.parametrize("sources", [ONE_LINE, DEB822], ids=["one-line", "deb822"])
def test_the_machines_own_mirror_is_asked(archive: Archive, tmp_path: Path, sources: str) -> None:
    """In either form, with its options, through the proxy; what is not Debian's archive is not asked for a suite."""
    machine = tmp_path / "machine"
    if sources == ONE_LINE:
        (machine / "sources.list").write_text(sources)
        (machine / "sources/debian.sources").write_text(SECURITY.lstrip())
    archive.add_source("6.12.38-1")

    assert took()[0] == "tiny 6.12.38-1\n"

    suites = {path.split("/dists/")[1].split("/")[0] for path in archive.asked if "/dists/" in path}
    assert suites == {"bookworm", "bookworm-security", "trixie"}
    assert not [path for path in archive.asked if "security/dists/trixie" in path]


def test_a_machine_without_debian_is_told(archive: Archive, tmp_path: Path) -> None:
    """Only what says of itself that it is Debian's archive is taken for it."""
    (tmp_path / "machine/sources/debian.sources").write_text(SECURITY.lstrip())

    with pytest.raises(BuildError, match="no source of Debian's archive; add one, and run 'apt-get update' as root"):
        debian.source_folder(PACKAGE)


def test_the_machines_apt_stays_as_it_is(archive: Archive, tmp_path: Path) -> None:
    """Its lists are those of its own suites, and its sources are the same file."""
    archive.add_source("6.12.38-1")
    took()

    machine = tmp_path / "machine"
    assert not [path.name for path in (machine / "state/lists").iterdir() if "trixie" in path.name]
    assert (machine / "sources/debian.sources").read_text() == DEB822 + SECURITY


@pytest.mark.quick
@pytest.mark.parametrize(
    ("read", "text", "entries"),
    [
        (one_line_entries, "deb http://a/debian x main", [Entry(("http://a/debian",))]),
        (one_line_entries, "#deb http://a/debian x main\n\ndeb-src http://b y z", [Entry(("http://b",))]),
        (
            one_line_entries,
            "deb [ arch+=amd64,arm64 signed-by=/a.gpg lang=de,en ] http://a/debian x main # why",
            [Entry(("http://a/debian",), ("signed-by: /a.gpg", "Languages: de en"))],
        ),
        (deb822_entries, "Types: deb\nURIs: http://a\n  http://b\nSuites: x", [Entry(("http://a", "http://b"))]),
        (deb822_entries, "Enabled: no\nTypes: deb\nURIs: http://a\nSuites: x\n\n\n", []),
        (
            deb822_entries,
            "# a\n\nURIs: http://a\nArchitectures: amd64\nSigned-By:\n -----BEGIN\n .\n abc\n\nURIs: http://b\n",
            [Entry(("http://a",), ("Signed-By:\n -----BEGIN\n .\n abc",)), Entry(("http://b",))],
        ),
    ],
)
def test_entries_are_read(read: Callable[[str], Iterator[Entry]], text: str, entries: list[Entry]) -> None:
    """The options of an entry are kept, but for those that another suite or architecture has of its own."""
    assert list(read(text)) == entries


@pytest.mark.quick
def test_an_entry_becomes_one_of_another_suite() -> None:
    """As apt reads it: a stanza."""
    assert Entry(("http://a",), ("Signed-By: /a.gpg",)).text("deb deb-src", ["x", "x-backports"]) == (
        "Types: deb deb-src\nURIs: http://a\nSuites: x x-backports\nComponents: main\nSigned-By: /a.gpg\n\n"
    )


@pytest.mark.quick
def test_versions_are_in_debians_order() -> None:
    """Not in that of their letters."""
    assert newest_first(["1-9", "1-10", "1:0-1", "1~rc1-1", "1-9"]) == ["1:0-1", "1-10", "1-9", "1~rc1-1"]


@pytest.mark.quick
def test_packages_are_installed_by_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that miss the same package: apt-get of the second would only say who holds its lock."""
    installed: set[str] = set()
    calls: list[str] = []
    both = threading.Barrier(2)

    def slowly(arguments: list[str]) -> str:
        calls.append(arguments[1])
        time.sleep(0.2)
        installed.update(arguments)
        return ""

    def missing(packages: tuple[str, ...]) -> list[str]:
        names = [name for name in packages if name not in installed]
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)
        return names

    monkeypatch.setattr(debian, "command", slowly)
    monkeypatch.setattr(debian, "missing", missing)
    with ThreadPoolExecutor(2) as pool:
        lines = list(pool.map(debian.install, [("kmod",), ("kmod",)]))

    assert calls == ["update", "install"]
    assert sorted(lines) == ["all packages installed", "installed kmod"]
