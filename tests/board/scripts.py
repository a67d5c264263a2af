"""Plans for the bench, and the scripts they become."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bootplan.compiler import compile_plan

from .router import Router
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


def agreed(box: Router) -> dict[str, str]:
    """Return the environment, which both of its copies must say."""
    first, second = box.environments()
    assert first is not None and first == second, sorted((first or {}).items() ^ (second or {}).items())
    return first


@contextmanager
def second_write_lost(box: Router) -> Iterator[None]:
    """Leave what a power cut leaves between the two writes of what happens inside, on SPI-NAND.

    The copy that was written last is put back: the newer one says what was decided, the other one what was before.
    """
    box.run("for n in 1 2; do cat /dev/ubi0_$n >/tmp/copy-$n; done").ok()
    yield
    counts = [box.run(f"hexdump -s 4 -n 1 -e '1/1 \"%d\"' /dev/ubi0_{number}").ok().out for number in (1, 2)]
    decided, last = box.fw_printenv(), 1 if int(counts[0]) > int(counts[1]) else 2
    box.run(f"cat /tmp/copy-{last} >/dev/ubi0_{last}; rm /tmp/copy-1 /tmp/copy-2").ok()
    copies = box.environments()
    assert None not in copies and copies[0] != copies[1]
    assert box.fw_printenv() == decided == copies[2 - last]


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
