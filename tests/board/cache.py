"""Keep what is built once: every part of the bench lies in a folder of its own, named after everything that goes in.

The cache is ``$BOOTPLAN_CACHE``, or ``~/.cache/bootplan``: outside the checkout, and safe to delete. A part that fails
to build raises :class:`BuildError` with the end of its log; nothing half-built stays.
"""

import contextlib
import fcntl
import hashlib
import inspect
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOG_LINES = 40


class BuildError(Exception):
    """A part could not be built; the text says which command failed and shows the end of its output."""


@dataclass(frozen=True)
class Part:
    """Something to build: ``make(folder)`` fills a folder, ``key()`` is a text that changes with what goes in.

    ``make`` may leave a file ``version`` in the folder: one line for the report.
    """

    name: str
    make: Callable[[Path], None]
    key: Callable[[], str]


Report = Callable[[str], object]
"""Who is told, line by line, what was built and how long it took."""


def silent(line: str) -> None:
    """Tell nobody."""


def cache_folder() -> Path:
    """Return the folder that keeps built parts."""
    return Path(os.environ.get("BOOTPLAN_CACHE") or Path.home() / ".cache" / "bootplan")


def digest_of(*pieces: Path | str | bytes) -> str:
    """Return 16 hexadecimal digits that change when any piece (text, bytes or the content of a path) changes."""
    total = hashlib.sha256()
    for piece in pieces:
        data = piece.read_bytes() if isinstance(piece, Path) else piece.encode() if isinstance(piece, str) else piece
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def named(paths: Iterable[Path]) -> list[Path | str]:
    """Return the paths and their names, for a key that changes with either a file's content or its name."""
    return [piece for path in paths for piece in (path, path.name)]


def recipe_of(*functions: Callable[..., object]) -> str:
    """Return the source text of the functions that make a part, which belongs to the part's key."""
    return "".join(inspect.getsource(function) for function in functions)


def command(
    arguments: Sequence[str | Path], folder: Path | None = None, extra_env: Mapping[str, str] | None = None
) -> str:
    """Run a build command and return its output; raise :class:`BuildError` with the log's end when it fails."""
    env = {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", **(extra_env or {})}
    try:
        done = subprocess.run(
            arguments,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as failure:
        raise BuildError(f"{failure.filename} is not installed; install the package that has it") from None
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-LOG_LINES:])
        raise BuildError(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{end}")
    return done.stdout


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of one part, so that two test sessions do not build it at once."""
    folder = cache_folder() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name: str, key: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of part ``name`` with ``key``, calling ``make(folder)`` when the cache does not have it."""
    final = cache_folder() / f"{name}-{key}"
    if final.is_dir():
        return final
    with locked(f"{name}-{key}"):
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


def build_parts(parts: Iterable[Part], report: Report = silent) -> dict[str, Path]:
    """Build or find every :class:`Part` and return ``{name: folder}``; ``report`` gets a line with seconds for each.

    A part that fails keeps no other from being built; at the end :class:`BuildError` says which failed, and why.
    """
    folders, failures = {}, []
    for part in parts:
        start = time.monotonic()
        try:
            folder = cached(part.name, part.key(), part.make)
        except BuildError as failure:
            failures.append(f"{part.name}: {failure}")
            report(f"{part.name:14} failed  {str(failure).splitlines()[0]}")
            continue
        folders[part.name] = folder
        version = folder / "version"
        text = version.read_text().strip() if version.is_file() else ""
        report(f"{part.name:14} {time.monotonic() - start:6.1f} s  {text}")
    if failures:
        raise BuildError("\n".join(failures))
    return folders
