"""Find the files that ship beside the code: templates, schemas and example plans."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
ROOT = _PACKAGE if (_PACKAGE / "templates").is_dir() else _PACKAGE.parent  # a wheel, else a checkout
TEMPLATES, SCHEMAS, PLANS = ROOT / "templates", ROOT / "schemas", ROOT / "plans"
