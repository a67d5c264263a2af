"""An upgrade without slots, on every kind of root: refusals, the flash, the first start, and what is left behind."""

import pytest

from .upgrades import KERNEL, NEW, OLD, UpgradeBench, kind_of, plan

ROOT = {"extroot-overlay": "overlay on /dev/nvme0n1p1", "extroot-pivot": "root on /dev/nvme0n1p1"}


@pytest.fixture
def bench(router):
    """Return a function that switches a router on whose root is where its plan wants it."""
    def make(method="extroot-overlay", medium="nand", *, text="", **changes):
        box = router(**{**kind_of(method, medium), **changes}).boot()
        return UpgradeBench(box, text or plan(method, medium))
    return make


@pytest.mark.parametrize(
    ("method", "medium", "shell"),
    [
        ("internal", "nand", "ash"),
        ("extroot-overlay", "nand", "ash"),
        ("extroot-pivot", "nand", "dash"),
        ("extroot-overlay", "emmc", "dash"),
        ("extroot-pivot", "sd", "ash"),
        ("internal", "emmc", "dash"),
    ],
)
def test_an_upgrade_brings_the_root_along(bench, method, medium, shell):
    """Rehearsal, upgrade, first start, second start: new system and kernel, the settings, and the user's own files."""
    made = bench(method, medium, shell=shell).installed()
    box = made.router
    box.put("/etc/config/mine", "config mine\n\toption word 'kept'\n")
    box.put("/root/notes", "mine\n")
    box.put("/etc/not-kept", "old\n")
    box.run("printf 'changed\\n' >/www/index.html").ok()
    image = made.put_image()
    untouched = made.seen()
    rehearsal = made.sh(f"upgrade {image}").ok().out
    assert "none made; to make them add --apply" in rehearsal
    assert made.seen() == untouched
    env = box.fw_printenv()

    told = made.flash(image)
    assert "the router restarts by itself" in told, told
    starts = made.follow()
    assert starts == (1 if method == "internal" else 2), box.run("tail -n 40 /tmp/bootplan.log; tail /tmp/log/boot").out

    assert f"DISTRIB_RELEASE='{NEW}'" in box.read("/etc/openwrt_release")
    assert box.run("uname -r").out.strip() == KERNEL
    assert box.exists(f"/lib/modules/{KERNEL}/nvme.ko")
    assert "option word 'kept'" in box.read("/etc/config/mine")
    assert box.fw_printenv() == env
    status = made.status()
    root = ROOT.get(method, "internal" if medium == "nand" else "internal on /dev/fitrw")
    assert (status["root"], status["as_planned"]) == (root, True), str(status)
    assert status["upgraded"].startswith(f"from {OLD} to {NEW} on ")
    assert [status[f"upgrade_{key}"] for key in ("version", "env", "root", "packages")] == ["ok"] * 4
    assert box.read("/www/index.html") == "<p>OpenWrt</p>\n"
    assert not box.exists("/etc/not-kept")
    if method != "internal":
        assert box.read("/root/notes") == "mine\n"
        before = "/overlay/.bootplan" if method == "extroot-overlay" else "/.bootplan"
        assert box.run(f"cat {before}/before-*/etc/not-kept").ok().out == "old\n"
    assert "nothing was changed" in made.sh("install --apply").ok().out
    assert len(box.run("ls -d /srv/backup/bootplan-*").ok().out.split()) == 1
    again = made.put_image()
    assert "it is already so" in made.sh(f"upgrade {again} --apply").ok().out
