"""The JSON Schema of the plan language, for editors: generated from the models in plan.py."""

import json

from bootplan.plan import Plan


def plan_schema() -> str:
    """The text of schemas/plan.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Plan.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
