"""Run `python -m bootplan` as the command `bootplan`."""

import sys

from bootplan.cli import main

sys.exit(main())
