"""Plans for the bench, and the scripts they become."""

from collections.abc import Sequence
from typing import Any

from bootplan.compiler import compile_plan

from .running import Files, Result

SERIAL = "S4EWNF0M531930D"
METHODS = ("extroot-overlay", "extroot-pivot", "cmdline", "internal")
PARTITIONS = (
    "{name: root, size: 256MiB, filesystem: ext4}",
    "{name: data, size: rest, filesystem: ext4, mount: /srv}",
)


def plan(
    method: str = "extroot-overlay",
    medium: str = "nand",
    *,
    release: str = "25.12",
    model: str = "bpi-r4",
    disk: str = f"serial: {SERIAL}",
    partitions: Sequence[str] | None = None,
    other: str | None = None,
    more: str = "",
) -> str:
    """Return the text of a plan; ``disk`` is the line that chooses the disk, ``more`` is put at the end.

    ``other`` chooses a second disk, with one partition of its own.
    """
    chosen = partitions or (PARTITIONS[1:] if method == "internal" else PARTITIONS)
    lines = "".join(f"      - {partition}\n" for partition in chosen)
    if other:
        lines += f"  second:\n    type: nvme\n    {other}\n    partitions:\n"
        lines += "      - {name: more, size: rest, filesystem: ext4, mount: /opt}\n"
    kernel = "nvme-builtin" if method == "cmdline" else "stock"
    root = f"{{method: {method}}}" if method == "internal" else f"{{method: {method}, partition: root}}"
    return (
        "version: 1\nname: bench\n"
        f"board: {{model: {model}}}\n"
        f'firmware: {{release: "{release}", kernel: {kernel}}}\n'
        f"boot: {{medium: {medium}}}\n"
        f"media:\n  ssd:\n    type: nvme\n    {disk}\n    partitions:\n{lines}"
        f"root: {root}\n{more}"
    )


def compiled(text: str) -> str:
    """Return the script of a plan; the plan's errors as an :class:`AssertionError`."""
    made = compile_plan(text.encode(), "bench.yaml")
    if made.script is None:
        raise AssertionError("\n".join(one.message for one in made.diagnostics))
    return made.script


def kind_of_router(method: str) -> dict[str, Any]:
    """Return what a router must have for this root method."""
    if method == "cmdline":
        return {"kernel_nvme": "builtin", "packages": ("block-mount", "sfdisk")}
    return {}


class Bench:
    """A running router with one script on it."""

    def __init__(self, router: Files, text: str, name: str = "/tmp/r4.sh") -> None:
        """``router`` is on; ``text`` is a plan."""
        self.router, self.name, self.script = router, name, compiled(text)
        self.router.put(name, self.script)

    def sh(self, words: str, timeout: float = 120) -> Result:
        """Run the script with these words and return the result."""
        return self.router.run(f"sh {self.name} {words}", timeout)

    def restart(self) -> list[str]:
        """Reboot the router; RAM is empty then, so the script is put there again. Returns the slots it started."""
        self.router.reboot()
        self.router.put(self.name, self.script)
        return []
