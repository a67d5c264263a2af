"""What all tests share: expected outputs in files, and plans made from a sound one."""

import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import released

SOUND = {
    "version": "version: 1\n",
    "name": "name: home-router\n",
    "board": "board: {model: bpi-r4}\n",
    "firmware": 'firmware: {release: "25.12", kernel: stock}\n',
    "boot": "boot: {medium: nand}\n",
    "media": (
        "media:\n"
        "  ssd:\n"
        "    type: nvme\n"
        "    serial: S4EWNF0M531930D\n"
        "    partitions: [{name: root, size: 8GiB, filesystem: ext4}]\n"
    ),
    "root": "root: {method: extroot-overlay, partition: root}\n",
}
_KEY = re.compile(r"^(\w+):", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write the expected outputs instead of comparing them")
    parser.addoption("--prefix-step", type=int, default=199, metavar="N", help="cut the script at each N-th character")
    parser.addoption(
        "--shellcheck",
        default=str(Path(sysconfig.get_path("scripts"), "shellcheck")),
        metavar="PATH",
        help="the ShellCheck to ask, in place of the one that is installed beside pytest",
    )


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: many tests of the bench wait for a router that waits."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with the expected one in a file, or with --update write that file."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def plan_with() -> Callable[[str], str]:
    """The text of a sound plan in which some top-level keys are replaced, or added."""

    def replace(fragment: str) -> str:
        replaced = _KEY.findall(fragment)
        return "".join(text for key, text in SOUND.items() if key not in replaced) + fragment

    return replace


@pytest.fixture
def findings(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], str]:
    """What ShellCheck has to say of a file, without any option: the file, or its folder, says what it needs."""
    program = request.config.getoption("--shellcheck")

    def ask(path: Path) -> str:
        done = subprocess.run([program, path], capture_output=True, text=True, env={"HOME": str(tmp_path)})
        assert (done.returncode, done.stderr) in [(0, ""), (1, "")], done.stderr
        return done.stdout

    return ask


@pytest.fixture(scope="session")
def shells() -> dict[str, str]:
    """The shells a script must run in and where they are: dash, and BusyBox ash as OpenWrt builds it."""
    from board import parts

    return {"dash": "/bin/dash", "ash": str(parts.build()["busybox"] / "bin" / "busybox")}


@pytest.fixture
def root() -> Path:
    """The folder of the checkout."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One whole file of each kind that a release has."""
    return released.contents(tmp_path_factory.mktemp("released"))
