"""The JSON Schema that editors use is the one the models make."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bootplan.document import parse
from bootplan.plan import Plan
from bootplan.schema import plan_schema
from bootplan.shape import read


def meaning(schema: object) -> object:
    """A schema without what the versions of pydantic write differently: one choice, a reference, a title."""
    if isinstance(schema, list):
        return [meaning(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {
        key: meaning(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)
    }
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]
    for referred in plain.pop("allOf", []):
        plain |= referred
    if "enum" in plain:
        plain.pop("type", None)
    return plain


def test_the_schema_in_the_checkout_is_current(root: Path) -> None:
    written = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))

    assert meaning(written) == meaning(json.loads(plan_schema()))


def test_every_field_is_described() -> None:
    schema = json.loads(plan_schema())

    for name, model in {"Plan": schema, **schema["$defs"]}.items():
        for field, content in model["properties"].items():
            described = "description" in content or "$ref" in content or field == "type"
            assert described, f"{name}.{field} has no description"


def test_the_schema_knows_keys_choices_and_forms() -> None:
    schema = json.loads(plan_schema())

    assert schema["required"] == ["version", "name", "board", "firmware", "boot", "media", "root"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Boot"]["properties"]["medium"]["enum"] == ["nand", "emmc", "sd"]
    assert set(schema["$defs"]["Partition"]["properties"]) == {"name", "size", "filesystem", "mount"}
    assert set(schema["properties"]) == {field.alias or name for name, field in Plan.model_fields.items()}


def disk(**fields: str) -> str:
    """A `media:` section whose disk has these fields, and a partition unless they say otherwise."""
    fields = {"serial": "A1", "partitions": "[{name: root, size: 8GiB, filesystem: ext4}]", **fields}
    return f"media: {{ssd: {{type: nvme, {', '.join(f'{key}: {value}' for key, value in fields.items())}}}}}\n"


def partition(**fields: str) -> str:
    """A `media:` section whose only partition has these fields."""
    fields = {"name": "root", "size": "8GiB", "filesystem": "ext4", **fields}
    return disk(partitions=f"[{{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}]")


def slots(**fields: str) -> str:
    """A `slots:` section with these fields besides its two slots."""
    fields = {"a": "{root: root-a}", "b": "{root: root-b}", **fields}
    return f"slots: {{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}\n"


def image(**fields: str) -> str:
    """An `upgrade:` section whose image has these fields."""
    fields = {"file": "x.itb", "sha256": f"'{'0' * 64}'", **fields}
    return f"upgrade: {{image: {{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}}}\n"


FILE = f"{{file: x.bin, sha256: '{'0' * 64}'}}"


def fallback(**fields: str) -> str:
    """A `fallback:` section with these fields besides its medium and image."""
    fields = {"medium": "sd", "image": FILE, **fields}
    return f"fallback: {{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}\n"


@pytest.mark.parametrize(
    ("fragment", "right"),
    [
        ("", True),
        ("name: x\n", True),
        ("name: 路由\n", True),
        ("name: ''\n", False),
        ("name: '  '\n", False),
        (f"name: {'x' * 64}\n", True),
        (f"name: {'x' * 65}\n", False),
        ('name: "a\\nb"\n', False),
        ("name: 1\n", False),
        ("version: 2\n", False),
        ("version: '1'\n", False),
        ("board: {model: bpi-r4, ram: 8GiB}\n", True),
        ("board: {model: bpi-r4, ram: 4096 MiB}\n", True),
        ("board: {model: bpi-r4, ram: 3GiB}\n", False),
        ("board: {model: bpi-r4, ram: null}\n", True),
        ("board: {}\n", False),
        ("board: {model: bpi-r4, x: 1}\n", False),
        ("firmware: {release: '25.12', kernel: null}\n", False),
        ("firmware: {release: 25.12}\n", False),
        ("boot: {medium: nand, switch: '01'}\n", True),
        ("boot: {medium: nand, switch: '2'}\n", False),
        ("media: {}\n", False),
        ("media: {SSD: {type: sd}}\n", False),
        ("media: {a b: {type: sd}}\n", False),
        ("media: {'': {type: sd}}\n", False),
        ("media: {ssd: {}}\n", False),
        ("media: {chip: {type: emmc}}\n", True),
        ("media: {ssd: {type: floppy}}\n", False),
        ("media: []\n", False),
        (disk(serial="''"), False),
        (disk(serial="x" * 20), True),
        (disk(serial="x" * 21), False),
        (disk(serial="'a b'"), True),
        (disk(serial="' a'"), False),
        (disk(serial="ü"), False),
        (disk(serial="12"), False),
        (disk(pci="'0002:01:00.0'"), True),
        (disk(pci="'01:00.0'"), False),
        (disk(capacity="256GB"), True),
        (disk(capacity="256 GiB"), True),
        (disk(capacity="0GB"), False),
        (disk(capacity="100TB"), False),
        (disk(partitions="null"), False),
        (disk(partitions="[]"), True),
        (partition(size="0GiB"), False),
        (partition(size="08GiB"), True),
        (partition(size="64TiB"), True),
        (partition(size="65TiB"), False),
        (partition(size="99999999TiB"), False),
        (partition(size="8G"), False),
        (partition(size="rest"), True),
        (partition(size="8"), False),
        (partition(name="'a b'"), False),
        (partition(mount="/srv"), True),
        (partition(mount="null"), True),
        (partition(mount="/srv/.."), False),
        (partition(mount="srv"), False),
        (partition(mount="/" + "x" * 127), True),
        (partition(mount="/" + "x" * 128), False),
        (partition(label="x"), False),
        (partition(filesystem="btrfs"), False),
        ("root: {method: cmdline, rootwait: 1, panic: 60}\n", True),
        ("root: {method: cmdline, rootwait: 0}\n", False),
        ("root: {method: cmdline, rootwait: 301}\n", False),
        ("root: {method: cmdline, panic: 999}\n", False),
        ("root: {method: cmdline, panic: true}\n", False),
        ("root: {method: cmdline, arguments: [a b]}\n", False),
        ("root: {method: cmdline, arguments: quiet}\n", False),
        ("packages: null\n", False),
        ("packages: [nano, Nano]\n", False),
        ("packages: [nano]\n", True),
        ("extra: 1\n", False),
        (slots(), True),
        ("slots: null\n", True),
        ("slots: {a: {root: x}}\n", False),
        (slots(c="{root: x}"), False),
        (slots(a="root-a"), False),
        (slots(a="{}"), False),
        (slots(kernel="shared"), True),
        (slots(kernel="x"), False),
        (slots(tries="1"), True),
        (slots(tries="9"), True),
        (slots(tries="0"), False),
        (slots(tries="10"), False),
        (slots(tries="'3'"), False),
        (slots(on_crash="recovery"), True),
        (slots(on_crash="{good: 9}"), True),
        (slots(on_crash="{good: 0}"), False),
        (slots(on_crash="{good: 1, x: 1}"), False),
        (slots(on_crash="{}"), False),
        (slots(on_crash="good"), False),
        (slots(on_crash="null"), False),
        (slots(room="{}"), True),
        (slots(room="{firmware: 24MiB, data: 16 MiB}"), True),
        (slots(room="{firmware: 24}"), False),
        (slots(room="{firmware: rest}"), False),
        (slots(room="null"), True),
        (slots(confirm="{}"), True),
        (slots(confirm="null"), False),
        (slots(confirm="{checks: []}"), True),
        (slots(confirm="{checks: [x]}"), False),
        (slots(confirm="{checks: [root, lan, wan, dns, ssh]}"), True),
        (slots(confirm="{checks: ssh}"), False),
        (slots(confirm="{within: 30s}"), True),
        (slots(confirm="{within: 29s}"), False),
        (slots(confirm="{within: 0060 min}"), True),
        (slots(confirm="{within: 61min}"), False),
        (slots(confirm="{within: 3600s}"), True),
        (slots(confirm="{within: 3601s}"), False),
        (slots(confirm="{within: 999s}"), True),
        (slots(confirm="{within: 0min}"), False),
        (slots(confirm="{within: 600}"), False),
        (slots(confirm="{within: 1h}"), False),
        (slots(confirm="{deadman: 120min}"), True),
        (slots(confirm="{deadman: 121min}"), False),
        (slots(confirm="{deadman: 7200s}"), True),
        (slots(confirm="{deadman: 7201s}"), False),
        (slots(confirm="{deadman: null}"), True),
        (slots(confirm="{deadman: 29s}"), False),
        ("upgrade: {}\n", True),
        ("upgrade: null\n", True),
        ("upgrade: []\n", False),
        (image(), True),
        (image(sha256="abc"), False),
        (image(sha256=f"'{'A' * 64}'"), False),
        (image(file="/tmp/x.itb"), False),
        (image(file="x" * 200), True),
        (image(file="x" * 201), False),
        ("upgrade: {image: x.itb}\n", False),
        ("upgrade: {image: {file: x.itb}}\n", False),
        ("upgrade: {keep: [/etc/x]}\n", True),
        ("upgrade: {keep: [etc/x]}\n", False),
        ("upgrade: {keep: [/etc/..]}\n", False),
        ("upgrade: {keep: ['/etc/a b']}\n", False),
        ("upgrade: {keep: /etc/x}\n", False),
        (fallback(), True),
        ("fallback: null\n", True),
        ("fallback: {}\n", False),
        ("fallback: {medium: sd}\n", False),
        (fallback(medium="emmc"), False),
        (fallback(image="x.img.gz"), False),
        (fallback(x="1"), False),
        (fallback(max_age="180d"), True),
        (fallback(max_age="007 d"), True),
        (fallback(max_age="1d"), True),
        (fallback(max_age="0d"), False),
        (fallback(max_age="3650d"), True),
        (fallback(max_age="3651d"), False),
        (fallback(max_age="180"), False),
        (fallback(max_age="'180'"), False),
        (fallback(max_age="6months"), False),
        (fallback(max_age="1.5d"), False),
        (fallback(max_age="null"), False),
        (fallback(max_age="12345d"), False),
        ("bootloader: {}\n", True),
        ("bootloader: null\n", True),
        ("bootloader: []\n", False),
        (f"bootloader: {{bl2: {FILE}, fip: {FILE}, mtd_rw: true}}\n", True),
        ("bootloader: {bl2: null}\n", True),
        ("bootloader: {mtd_rw: yes}\n", False),
        ("bootloader: {bl2: x.bin}\n", False),
        (f"bootloader: {{uboot: {FILE}}}\n", False),
        ("recovery: {}\n", True),
        ("recovery: null\n", True),
        (f"recovery: {{image: {FILE}, server: 192.168.1.254}}\n", True),
        ("recovery: {server: null}\n", False),
        ("recovery: {server: 0.0.0.0}\n", True),
        ("recovery: {server: 255.255.255.255}\n", True),
        ("recovery: {server: 256.0.0.1}\n", False),
        ("recovery: {server: 1.2.3}\n", False),
        ("recovery: {server: 1.2.3.4.}\n", False),
        ("recovery: {server: 1.2.3.4.5}\n", False),
        ("recovery: {server: 01.2.3.4}\n", False),
        ("recovery: {server: pc.lan}\n", False),
    ],
)
def test_schema_and_models_accept_the_same(plan_with: Callable[[str], str], fragment: str, right: bool) -> None:
    document = parse(plan_with(fragment), "plan.yaml")

    assert (read(Plan, document)[1] == []) is right
    assert Draft202012Validator(json.loads(plan_schema())).is_valid(document.data) is right
