"""The cache of built parts: what one that fails does to the others, and what it says."""

from pathlib import Path

import pytest

from .cache import BuildError, Part, build_parts, command

pytestmark = pytest.mark.quick


def failing(folder: Path) -> None:
    """Fail behind something half-built."""
    (folder / "half").write_text("x")
    command(["sh", "-c", "echo why; exit 7"])


def whole(folder: Path) -> None:
    """Build."""
    (folder / "version").write_text("1.2\n")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("BOOTPLAN_CACHE", str(tmp_path))
    return tmp_path


def test_a_part_that_fails_keeps_no_other_from_being_built(cache: Path) -> None:
    """The one after it is built, the report has a line for each, and the error says which failed and why."""
    lines: list[str] = []

    with pytest.raises(BuildError, match=r"^first: sh -c echo why; exit 7 ended with 7:\nwhy$"):
        build_parts([Part("first", failing, lambda: "1"), Part("second", whole, lambda: "2")], lines.append)

    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == ["second-2"]
    assert lines[0].startswith("first          failed  sh -c echo why; exit 7 ended with 7")
    assert lines[1].startswith("second ")
    assert lines[1].endswith(" s  1.2")


def test_a_key_that_cannot_be_had_is_a_part_that_fails() -> None:
    """A source that no mirror has is asked for when the key is made."""

    def no_key() -> str:
        raise BuildError("linux cannot be had; try again later")

    with pytest.raises(BuildError, match=r"^kernel: linux cannot be had; try again later$"):
        build_parts([Part("kernel", whole, no_key), Part("second", whole, lambda: "2")])


def test_a_program_that_is_missing_is_named() -> None:
    """Not with the traceback of a file that was not found."""
    with pytest.raises(BuildError, match=r"^no-such-program is not installed; install the package that has it$"):
        command(["no-such-program", "x"])
