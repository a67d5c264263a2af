"""The copy and its reading back, function by function, with the library as it stands in every script."""

import pytest

from bootplan.script import library

from .router import MakeRouter, Router
from .running import Result

SETUP = """set -eu
plan_name=test plan_digest=test
. /tmp/library.sh
apply=yes work=/tmp/work
mkdir -p $work /root/a /root/b
"""
TREE = r"""cd /root/a
mkdir -p 'd/with blank' .hidden; echo one >d/one; echo two >'d/with blank/- two'
printf 'x' >"$(printf 'line\nbreak "and" $(quotes)')"
ln -s /nowhere link; ln d/one hard; mkfifo pipe; mknod node c 1 3
chmod 4755 d/one; chown 3:4 d; chmod 1777 d; touch -d '2001-02-03 04:05:06' d .hidden d/one
cd /
"""
COPY = "copy_tree /root/a /root/b\n"
COMPARE = 'compare_names /root/a /root/b; compare_bytes /root/a /root/b; echo "<$differences>"\n'

DIFFERENCES = {
    "a byte": "printf X | dd of=/root/b/d/one bs=1 conv=notrunc 2>/dev/null; touch -r /root/a/d/one /root/b/d/one",
    "a time": "touch /root/b/d/one",
    "a mode": "chmod 755 /root/b/d/one",
    "an owner": "chown 3:5 /root/b/d",
    "a link's target": "rm /root/b/link; ln -s /elsewhere /root/b/link",
    "a kind": "rm /root/b/pipe; touch /root/b/pipe",
    "a device number": "rm /root/b/node; mknod /root/b/node c 1 5",
    "a missing name": "rm /root/b/.hidden -r",
    "a name too many": "touch /root/b/d/extra; touch -r /root/a/d /root/b/d",
    "an odd name": r"mv /root/b/line* /root/b/line",
}


def shell(box: Router, text: str) -> Result:
    """Run library functions; returns the result."""
    box.put("/tmp/library.sh", library())
    box.put("/tmp/test.sh", SETUP + text)
    return box.run("sh /tmp/test.sh", timeout=120)


@pytest.mark.parametrize("kind", ["ash", "dash"])
def test_a_copy_is_like_its_original(router: MakeRouter, kind: str) -> None:
    """All kinds of entries, odd names, times and modes."""
    box = router(shell=kind).boot()
    assert shell(box, TREE + COPY + COMPARE).ok().out == "<>\n"
    assert box.run("ls -i /root/b/hard /root/b/d/one | awk '{ print $1 }' | sort -u | wc -l").out.strip() == "1"


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_seen(router: MakeRouter, name: str) -> None:
    """A comparison that finds nothing must have looked."""
    box = router().boot()
    assert shell(box, TREE + COPY + DIFFERENCES[name] + "\n" + COMPARE).ok().out != "<>\n"


def test_a_file_that_cannot_be_read_is_a_difference(router: MakeRouter) -> None:
    """Missing on both sides is not equal."""
    box = router().boot()
    text = TREE + COPY + 'for_each_name() { touch "$work/incomplete"; }\n' + COMPARE
    assert "not every name could be found again" in shell(box, text).ok().out


def test_thousands_of_names(router: MakeRouter) -> None:
    """More names than one command line holds; each must come exactly once."""
    box = router().boot()
    text = (
        "cd /root/a\n"
        "for d in $(seq 90); do mkdir folder$d; for f in $(seq 50); do echo $d >folder$d/file$f; done; done\n"
        "cd /\n" + COPY + COMPARE + "wc -l <$work/want; wc -l <$work/list\n"
    )
    assert shell(box, text).ok().out.split() == ["<>", "4500", "4590"]


def test_a_copy_that_fails_stops_the_run(router: MakeRouter) -> None:
    """The disk is full: no half copy passes for a whole one."""
    box = router().boot()
    box.run("dd if=/dev/urandom of=/root/big bs=1M count=6 2>/dev/null").ok()
    text = "mount -t tmpfs -o size=4m none /root/b; cp /root/big /root/a/\n" + COPY + "echo reached\n"

    result = shell(box, text)

    assert result.code != 0
    assert "reached" not in result.out


def test_a_full_tmp_makes_no_comparison_good(router: MakeRouter) -> None:
    """find, ls, sha256sum and awk do not notice that their output went nowhere."""
    box = router(tmp_size="16m").boot()
    text = TREE + COPY + "dd if=/dev/zero of=/tmp/full bs=1M count=64 2>/dev/null || true\n" + COMPARE
    assert shell(box, text).code != 0
