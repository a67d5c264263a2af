"""Find the files that ship beside the code: templates and schemas."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
ROOT = _PACKAGE if (_PACKAGE / "templates").is_dir() else _PACKAGE.parent  # a wheel, else a checkout
TEMPLATES, SCHEMAS = ROOT / "templates", ROOT / "schemas"
