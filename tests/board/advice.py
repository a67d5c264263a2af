"""An owner who does what `status` advises, word for word, until all is as planned.

    follow_advice(bench, IMAGE=image)      # ['sh r4.sh upgrade IMAGE --apply, ..., then reboot']

The commands in a line of advice are run in their order, up to the first `or` and `if`. A rehearsal that asks for
--apply gets it, "Restart the router" is done. What is refused is followed, too: the refusal says what to do first. Only
where the owner named a disk (`wipe=SERIAL`) --wipe is added for it when that is asked for.
"""

import re
import time

from .running import Result
from .scripts import Bench
from .slotted import SlotBench
from .upgrades import UpgradeBench

WORDS = r"[a-z][a-z-]*(?: (?:--[a-z-]+|[A-Z]{2,}\b|/[^\s,;)]+|[a-z]\b))*"
STEP = re.compile(
    rf"sh (?P<name>\S+\.sh) (?P<words>{WORDS})"
    r"|(?P<restart>\breboot\b|\b[Rr]estart (?:the router|it)\b)"
    r"|(?P<wait>\bwait for\b)"
    r"|(?P<line>\b(?:mount|umount|uci|block mount)\b [^;,)]*|\bblock mount\b)"
)
END = re.compile(r",? or: |; (?:if it comes back|when there is an image|then look at)")


class OnlyAHuman(AssertionError):
    """The advice is nothing that can be typed; the text is the advice."""


def follow_advice(bench: Bench, most: int = 5, **named: str) -> list[str]:
    """Follow the advice at most so many times and return each line of it; ``named`` are the words to fill in."""
    followed: list[str] = []
    while True:
        told = bench.sh("status")
        if told.code == 0:
            return followed
        assert told.code == 1, told
        found = re.search("^advice +(.*)$", told.out, re.MULTILINE)
        assert found, told.out
        followed.append(found[1])
        assert len(followed) <= most, f"a circle: {followed}\n{told.out}"
        take(bench, found[1], named)


def take(bench: Bench, advice: str, named: dict[str, str], refusals: int = 1) -> None:
    """Do what one line says; ``refusals`` is how many of them may send on to something else."""
    steps = list(STEP.finditer(END.split(advice)[0]))
    if not steps:
        raise OnlyAHuman(advice)
    restart = False
    for step in steps:
        if step["words"]:
            words = " ".join(named.get(word, word) for word in step["words"].split())
            result = script(bench, step["name"], words)
            if result.code == 3 and refusals:
                refused: str = re.findall("^refused: (.*)$", result.out, re.MULTILINE)[0]
                wipe = f"--wipe {named.get('wipe', 'nothing')}"
                if not refused.endswith(wipe):
                    take(bench, refused, named, refusals - 1)
                    return
                result = script(bench, step["name"], f"{words} {wipe}")
            assert result.code == 0 or words == "status", result
            restart = bool(re.search("[Rr]estart the router", result.out))
        elif step["restart"]:
            restart_router(bench)
            restart = False
        elif step["wait"]:
            time.sleep(2)
        else:
            bench.router.run(step["line"]).ok()
    if restart:
        restart_router(bench)


def script(bench: Bench, name: str, words: str) -> Result:
    """Run a script in /tmp, and once more with --apply when it asks for that."""
    result = bench.router.run(f"cd /tmp && sh {name} {words}", 120)
    if "to make them add --apply" in result.out:
        result = bench.router.run(f"cd /tmp && sh {name} {words} --apply", 120)
    return result


def restart_router(bench: Bench) -> None:
    """Restart, and follow the router until it stays up."""
    if isinstance(bench, SlotBench):
        bench.restart_all()
    elif isinstance(bench, UpgradeBench):
        bench.router.off()
        bench.follow()
    else:
        bench.restart()
