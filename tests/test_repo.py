"""The repository keeps its own rules: layers, sources, and words that mislead."""

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from bootplan import __version__, assets, board
from bootplan.board import Board, WrongBoard, load_board
from bootplan.document import parse

PACKAGE = Path(__file__).parent.parent / "bootplan"

# A module may import from the layers below its own, and from modules of its own layer that come before it.
LAYERS = [
    ["bootplan"],
    ["diagnostics", "units", "shell", "assets", "examples", "chooser"],
    ["source", "tree", "document"],
    ["fields", "plan", "shape", "board", "report", "logcases"],
    ["layout", "packages", "bootargs", "images"],
    [
        "formats.window",
        "formats.headers",
        "formats.fit",
        "formats.fwtool",
        "formats.squashfs",
        "formats.fip",
        "formats.bl2",
        "formats.card",
        "formats",
    ],
    ["inspection", "verdict", "inspectreport", "pin"],
    ["slots", "sysupgrade", "checklist", "bootloader"],
    ["chain", "failures", "picture", "card", "bootlog", "logreport"],
    ["fallback"],
    ["rules.rule", "rules.names"],
    [
        "rules.board",
        "rules.media",
        "rules.partitions",
        "rules.mounts",
        "rules.root",
        "rules.cmdline",
        "rules.slots",
        "rules.room",
        "rules.trial",
        "rules.upgrade",
        "rules.fallback",
        "rules.bootloader",
        "rules.recovery",
        "rules.packages",
        "rules.advice",
    ],
    ["rules.text", "rules.values"],
    ["rules", "steps", "schema"],
    ["script"],
    ["compiler"],
    ["files", "cli"],
    ["__main__"],
]
FOREIGN = {
    "ruamel": {"document"},
    "jinja2": {"script", "card"},
    "argparse": {"cli"},
    "PySquashfsImage": {"formats.squashfs"},
}
ORDER = [name for layer in LAYERS for name in layer]


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, by its name inside the package; read once."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "bootplan"
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.Module) -> set[str]:
    """The full names of the modules a module imports, also inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "bootplan":
            names |= {f"bootplan.{alias.name}" for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes of a module, and the public methods of its public classes."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


@pytest.mark.parametrize("name", modules())
def test_imports_go_down_the_layers(name: str) -> None:
    for other in imported(modules()[name]):
        if other.startswith("bootplan."):
            inside = other.removeprefix("bootplan.")
            assert ORDER.index(inside) < ORDER.index(name), f"{name} imports {inside}"


def test_foreign_packages_stay_where_they_belong() -> None:
    for name, tree in modules().items():
        for other in imported(tree):
            owners = FOREIGN.get(other.partition(".")[0])
            assert owners is None or name in owners, f"{name} imports {other}"


@pytest.mark.parametrize("name", modules())
def test_everything_public_is_documented(name: str) -> None:
    tree = modules()[name]

    assert ast.get_docstring(tree), f"{name} has no docstring"
    for node in public(tree):
        assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def test_only_the_command_line_prints_and_exits() -> None:
    for name, tree in modules().items():
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert name == "cli" or not calls & {"print", "input", "exit"}, name


def test_every_group_of_board_facts_has_a_source(root: Path) -> None:
    data = parse((root / "schemas/boards/bpi-r4.yaml").read_bytes(), "bpi-r4.yaml").data
    groups = [
        data["identity"],
        data["files"],
        data["uboot"],
        data["stock"],
        data["commands"],
        data["reserved"],
        data["directories"],
    ]
    for several in ("models", "media", "releases"):
        groups += data[several].values()
    groups += [medium["environment"] for medium in data["media"].values()]

    assert all(group["source"].strip() for group in groups)


def test_the_board_agrees_with_itself() -> None:
    facts: Board = load_board()

    assert [medium.switch for medium in facts.media.values()] == ["01", "10", "11"]
    for model in facts.models.values():
        assert set(model.names) == (set(facts.releases) if model.supported else set())
        assert model.supported or model.reason
    for medium in facts.media.values():
        places = medium.environment.offsets if medium.environment.kind == "mmc" else medium.environment.volumes
        assert len(places) == 2
        assert "root=/dev/fit0" in medium.bootargs
    for release in facts.releases.values():
        assert set(release.env_config_missing_on) <= set(facts.models)


def test_every_fact_about_the_board_is_read_by_something() -> None:
    readers = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    groups = [one for one in vars(board).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    facts = {name for group in groups for name in group.model_fields} - {"source", "proven"}  # those are for people

    assert {fact for fact in facts if not re.search(rf"\.{fact}\b", readers)} == set()


def test_a_wrong_board_file_is_told_with_its_places(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = (root / "schemas/boards/bpi-r4.yaml").read_text(encoding="utf-8")
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards/wrong.yaml").write_text(facts.replace("  soc:", "  sok:", 1), encoding="utf-8")
    monkeypatch.setattr("bootplan.board.SCHEMAS", tmp_path)

    with pytest.raises(WrongBoard) as caught:
        load_board("wrong")

    line = facts[: facts.index("  soc:")].count("\n") + 1
    assert f"wrong.yaml:{line}:3: unknown key 'sok' [BP002]" in str(caught.value)
    assert "'soc' is missing [BP003]" in str(caught.value)


def test_the_changelog_begins_with_the_version(root: Path) -> None:
    """Its newest section is that of the version, or it is [Unreleased], and the version is a later one's `.dev0`."""
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    newest, *older = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", changes, re.MULTILINE)
    numbers = [tuple(map(int, one.split("."))) for one in [__version__.removesuffix(".dev0"), *older]]

    assert newest == ("Unreleased" if __version__.endswith(".dev0") else __version__)
    assert changes.count("\n## ") == len(numbers)
    assert numbers == sorted(set(numbers), reverse=True)


def test_the_version_is_written_once(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"] == {"path": "bootplan/__init__.py"}


def test_a_wheel_has_each_folder_that_is_read(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = {path.name for path in vars(assets).values() if isinstance(path, Path) and path.parent == assets.ROOT}
    folders -= {PACKAGE.name}

    assert wheel["sources"] == {name: f"bootplan/{name}" for name in folders}
    assert set(wheel["only-include"]) == {"bootplan", *folders}


def test_switches_are_told_by_digits_only(root: Path) -> None:
    texts = [
        path for folder in ("bootplan", "plans", "schemas") for path in (root / folder).rglob("*") if path.is_file()
    ]
    for path in texts:
        if path.suffix in (".py", ".yaml", ".json"):
            for line in path.read_text(encoding="utf-8").splitlines():
                directions = re.search(r"\b(up|down|upper|lower)\b", line)
                assert not (directions and re.search(r"(?i)switch|SW3|lever", line)), f"{path.name}: {line}"


def test_what_the_readme_says_is_typed_in_continuous_integration(root: Path) -> None:
    readme, script = ((root / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    commands = re.findall(r"^    (python3 -m venv .*)$", readme, re.MULTILINE)
    typed = re.findall(r"""^\s+typed (["'])(.*)\1$""", script, re.MULTILINE)

    assert len(commands) == 2
    assert [line for _, line in typed] == commands
