"""Where the program starts, as the command `bootplan` and as `python -m bootplan`."""

import sys


def run() -> None:
    """Run the command line and exit; an interrupt while the modules are still being read ends quietly, too."""
    try:
        from bootplan.cli import main

        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    run()
