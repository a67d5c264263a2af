"""A YAML text that remembers where everything was written.

The parser's events become a tree of nodes (plain recursion-free code, so that depth and size can be
limited while they arrive), and one walk over that tree gives the data and the span of every key and value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bootplan.diagnostics import Diagnostic, Path, Related, Severity, Span

LARGEST_TEXT_BYTES = 2**20
MOST_NODES = 10_000
DEEPEST = 64
