"""Fixtures for tests that need a router or its U-Boot, and the rule that in continuous integration a skip is a failure.

A test takes the ``router`` fixture and calls it as it would call :class:`board.router.Router`; the router it gets is
switched off, and is cleared away when the test ends.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import upgrades
from .parts import build
from .router import MakeRouter, Router
from .sandbox.uboot import UBoot
from .upgrades import MakeUpgradeBench


@pytest.fixture(scope="session")
def board_parts() -> dict[str, Path]:
    """Build the programs of the router once in a session; a tool that cannot be had makes the tests fail."""
    if os.geteuid() != 0:
        pytest.fail("the tests of the private router root must run as root: they mount, and they attach loop devices")
    return build()


@pytest.fixture
def router(board_parts: dict[str, Path], tmp_path: Path) -> Iterator[MakeRouter]:
    """Return a function that makes routers: ``router(medium="sd")``."""
    with contextlib.ExitStack() as stack:
        made: list[Router] = []

        def make(**kind: Any) -> Router:
            made.append(stack.enter_context(Router(tmp_path / f"router{len(made) + 1}", **kind)))
            return made[-1]

        yield make


@pytest.fixture
def board(board_parts: dict[str, Path], tmp_path: Path) -> Iterator[Callable[..., UBoot]]:
    """Return a function that makes boards for the real U-Boot: ``board("nand")``, ``board("sd", kind=Both)``."""
    with contextlib.ExitStack() as stack:
        made: list[UBoot] = []

        def make(medium: str, kind: type[UBoot] = UBoot, **words: Any) -> UBoot:
            made.append(stack.enter_context(kind(tmp_path / f"uboot{len(made) + 1}", medium=medium, **words)))
            return made[-1]

        yield make


@pytest.fixture
def upgrade_bench(router: MakeRouter) -> MakeUpgradeBench:
    """Return a function that switches on a router whose root is where its plan wants it: ``("internal", "emmc")``."""

    def make(
        method: str = "extroot-overlay", medium: str = "nand", *, text: str = "", **changes: Any
    ) -> upgrades.UpgradeBench:
        box = router(**{**upgrades.kind_of(method, medium), **changes}).boot()
        return upgrades.UpgradeBench(box, text or upgrades.plan(method, medium))

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure when CI=true, so that a missing tool cannot go unnoticed there."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in continuous integration: {report.longrepr}"
    return report
