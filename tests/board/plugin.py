"""Fixtures for tests that need a router or its U-Boot, and the rule that a skipped test is a failure in continuous integration.

A test takes the ``router`` fixture and calls it as it would call :class:`board.router.Router`; the router it gets is
switched off, and is cleared away when the test ends.
"""

import contextlib
import os

import pytest

from . import upgrades
from .parts import build
from .router import Router
from .sandbox.uboot import UBoot


@pytest.fixture(scope="session")
def board_parts():
    """Build the programs of the router once in a session; a tool that cannot be had makes the tests fail."""
    if os.geteuid() != 0:
        pytest.fail("the tests of the private router root must run as root: they mount, and they attach loop devices")
    return build()


@pytest.fixture
def router(board_parts, tmp_path):
    """Return a function that makes routers: ``router(medium="sd")``."""
    with contextlib.ExitStack() as stack:
        made = []

        def make(**kind):
            made.append(None)
            return stack.enter_context(Router(tmp_path / f"router{len(made)}", **kind))

        yield make


@pytest.fixture
def board(board_parts, tmp_path):
    """Return a function that makes boards for the real U-Boot: ``board("nand")``, ``board("sd", kind=Both)``."""
    with contextlib.ExitStack() as stack:
        made = []

        def make(medium, kind=UBoot, **words):
            made.append(None)
            return stack.enter_context(kind(tmp_path / f"uboot{len(made)}", medium=medium, **words))

        yield make


@pytest.fixture
def upgrade_bench(router):
    """Return a function that switches a router on whose root is where its plan wants it: ``upgrade_bench("internal", "emmc")``."""

    def make(method="extroot-overlay", medium="nand", *, text="", **changes):
        box = router(**{**upgrades.kind_of(method, medium), **changes}).boot()
        return upgrades.UpgradeBench(box, text or upgrades.plan(method, medium))

    return make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Turn a skip into a failure when CI=true, so that a missing tool cannot go unnoticed there."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in continuous integration: {report.longrepr}"
