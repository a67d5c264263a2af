"""What all tests share: expected outputs in files, and plans made from a sound one."""

import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import released

TESTS = Path(__file__).parent

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
    parser.addoption("--bench", action="store_true", help="the tests that a plain run leaves out, and only these")
    parser.addoption("--update", action="store_true", help="write the expected outputs instead of comparing them")
    parser.addoption("--prefix-step", type=int, default=997, metavar="N", help="cut the script at each N-th character")
    parser.addoption(
        "--shellcheck",
        default=str(Path(sysconfig.get_path("scripts"), "shellcheck")),
        metavar="PATH",
        help="the ShellCheck to ask, in place of the one that is installed beside pytest",
    )


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """More workers than there are cores: many tests of the bench wait for a router that waits, with --bench most."""
    cores = os.cpu_count() or 1
    return 2 * cores if config.getoption("--bench") else cores + 1


def pytest_configure(config: pytest.Config) -> None:
    """Decide which tests run: all of what is named on the command line, or one of the two tiers."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if not hasattr(config.option, "tier"):  # a worker is told by the process that started it
        config.option.tier = "all" if named else "rest" if config.getoption("--bench") else "quick"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Build what the quick tests of the bench need, once and in the open: on a new machine this takes some minutes."""
    config = session.config
    is_worker = hasattr(config, "workerinput")
    if is_worker or config.option.tier != "quick" or config.option.collectonly or os.geteuid() != 0:
        return
    from board.cache import BuildError
    from board.scenario import build

    terminal = config.get_terminal_writer()
    terminal.line("the bench (U-Boot, BusyBox, tools): built once, in about three minutes, and kept")
    try:
        build([1], lambda line: terminal.line(f"  {line}"))
    except BuildError as failure:
        terminal.line(f"the tests of the bench will fail: {failure}")


def is_quick(item: pytest.Item) -> bool:
    """Tell whether a plain run has this test: of the bench what is marked as quick, else what is not marked as slow."""
    if "board" in item.path.relative_to(TESTS).parts:
        return item.get_closest_marker("quick") is not None
    return item.get_closest_marker("slow") is None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the other tier."""
    if (tier := config.option.tier) != "all":
        config.hook.pytest_deselected(items=[item for item in items if is_quick(item) != (tier == "quick")])
        items[:] = [item for item in items if is_quick(item) == (tier == "quick")]


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
