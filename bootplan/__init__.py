"""Check a boot plan for a Banana Pi BPI-R4 and compile it into one shell script."""

__version__ = "0.2.0.dev0"
