"""Make the fixtures known to the tests of this folder."""

from .plugin import board, board_parts, pytest_runtest_makereport, router, upgrade_bench

__all__ = ["board", "board_parts", "pytest_runtest_makereport", "router", "upgrade_bench"]
