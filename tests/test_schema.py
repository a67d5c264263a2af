"""The JSON Schema that editors use is the one the models make."""

import json
from pathlib import Path

from bootplan.plan import Plan
from bootplan.schema import plan_schema


def meaning(schema: object) -> object:
    """A schema without what the versions of pydantic write differently: one choice, a reference, a title."""
    if isinstance(schema, list):
        return [meaning(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: meaning(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}
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
