"""Make the router fixture known to the tests of this folder."""

from .plugin import board_parts, pytest_runtest_makereport, router

__all__ = ["board_parts", "pytest_runtest_makereport", "router"]
