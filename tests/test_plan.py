"""What a plan may look like: every field accepts what it should and refuses the rest with its own code."""

from collections.abc import Callable

import pytest

from bootplan.document import parse
from bootplan.plan import Emmc, GoodFirst, Nvme, Plan
from bootplan.shape import read

PlanWith = Callable[[str], str]


def plan_of(text: str) -> Plan:
    """The plan in *text*, which must have the right shape."""
    plan, found = read(Plan, parse(text, "plan.yaml"))
    assert plan is not None, found
    return plan


def codes_of(text: str) -> list[str]:
    """The codes of everything wrong with the shape of *text*."""
    return [one.code for one in read(Plan, parse(text, "plan.yaml"))[1]]


def with_disk(**fields: str) -> str:
    """A `media:` block whose disk has these fields, written as they stand."""
    fields = {"type": "nvme", "serial": "A1", **fields}
    return "media:\n  ssd:\n" + "".join(f"    {key}: {value}\n" for key, value in fields.items())


def with_partition(**fields: str) -> str:
    """A `media:` block whose only partition has these fields."""
    fields = {"name": "root", "size": "8GiB", "filesystem": "ext4", **fields}
    return with_disk(partitions="[{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}]")


def with_slots(text: str = "") -> str:
    """A `slots:` block with two slots and these lines, written as they stand."""
    return "slots:\n  a: {root: root-a}\n  b: {root: root-b}\n" + text


def test_a_sound_plan_is_held_as_written(plan_with: PlanWith) -> None:
    plan = plan_of(plan_with(""))

    disk = plan.media["ssd"]
    assert (plan.version, plan.name, plan.board.model, plan.board.ram) == (1, "home-router", "bpi-r4", None)
    assert (plan.firmware.release, plan.firmware.kernel) == ("25.12", "stock")
    assert (plan.boot.medium, plan.boot.switch) == ("nand", None)
    assert isinstance(disk, Nvme)
    assert (disk.serial, disk.pci, disk.capacity) == ("S4EWNF0M531930D", None, None)
    assert (disk.partitions[0].name, disk.partitions[0].size_bytes, disk.partitions[0].mount) == ("root", 2**33, None)
    assert (plan.root.method, plan.root.partition, plan.root.arguments) == ("extroot-overlay", "root", ())
    assert (plan.root.rootwait, plan.root.panic, plan.packages) == (None, None, ())
    assert (plan.slots, plan.upgrade, plan.fallback, plan.bootloader, plan.recovery) == (None,) * 5
    assert list(plan.roots()) == [("root", ("root", "partition"))]


def test_optional_fields_are_held_in_bytes_and_seconds(plan_with: PlanWith) -> None:
    text = plan_with(
        "board: {model: bpi-r4, ram: 8GiB}\n"
        + with_disk(capacity="256GB", partitions="[{name: data, size: rest, filesystem: f2fs, mount: /srv}]")
        + "root: {method: cmdline, partition: data, arguments: [quiet, loglevel=3], rootwait: 20, panic: 1}\n"
    )

    plan = plan_of(text)

    assert plan.board.ram == 2**33
    assert plan.media["ssd"].capacity == 256 * 10**9
    assert plan.media["ssd"].partitions[0].size_bytes is None
    assert plan.media["ssd"].partitions[0].mount == "/srv"
    assert (plan.root.arguments, plan.root.rootwait, plan.root.panic) == (("quiet", "loglevel=3"), 20, 1)


def test_what_repairs_a_router_has_defaults(plan_with: PlanWith) -> None:
    image = f"{{file: x.bin, sha256: '{'0' * 64}'}}"
    written = f"fallback: {{medium: sd, image: {image}, max_age: 90d}}\n"
    plan = plan_of(plan_with(f"fallback: {{medium: sd, image: {image}}}\nbootloader: {{}}\nrecovery: {{}}\n"))
    assert plan.fallback is not None and plan.bootloader is not None and plan.recovery is not None

    assert (plan.fallback.image.file, plan.fallback.max_age_days) == ("x.bin", 180)
    assert (plan.bootloader.bl2, plan.bootloader.fip, plan.bootloader.mtd_rw) == (None, None, False)
    assert (plan.recovery.image, plan.recovery.server) == (None, "192.168.1.254")
    plan = plan_of(plan_with(written))
    assert plan.fallback is not None and plan.fallback.max_age_days == 90


@pytest.mark.parametrize("days", ["0d", "3651d", "180", "180 days", "-1d", "1.5d", "true", "[180d]", "9999999d"])
def test_an_age_is_a_number_of_days(plan_with: PlanWith, days: str) -> None:
    image = f"{{file: x.bin, sha256: '{'0' * 64}'}}"

    assert codes_of(plan_with(f"fallback: {{medium: sd, image: {image}, max_age: {days}}}\n")) == ["BP117"]


@pytest.mark.parametrize("server", ["pc", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4.", "::1", "192.168.1.254/24"])
def test_a_server_is_an_ipv4_address(plan_with: PlanWith, server: str) -> None:
    assert codes_of(plan_with(f"recovery: {{server: '{server}'}}\n")) == ["BP118"]


def test_slots_have_defaults(plan_with: PlanWith) -> None:
    plan = plan_of(plan_with(with_slots() + "upgrade: {}\n"))
    slots, upgrade = plan.slots, plan.upgrade
    assert slots is not None and upgrade is not None

    assert (slots.a.root, slots.b.root, slots.kernel, slots.room) == ("root-a", "root-b", "own", None)
    assert (slots.firmware_bytes, slots.data_bytes, slots.tries, slots.on_crash) == (24 * 2**20, 2**24, 3, "recovery")
    assert (slots.confirm.within_seconds, slots.confirm.deadman_seconds) == (600, None)
    assert slots.confirm.forced_restart_seconds == 900
    assert slots.confirm.checks == ("root", "lan", "wan", "dns")
    assert (upgrade.image, upgrade.keep) == (None, ())
    assert list(plan.roots()) == [("root-a", ("slots", "a", "root")), ("root-b", ("slots", "b", "root"))]


def test_slots_are_held_in_bytes_and_seconds(plan_with: PlanWith) -> None:
    text = (
        with_slots(
            "  kernel: shared\n  room: {firmware: 1GiB, data: 8MiB}\n  tries: 9\n  on_crash: {good: 2}\n"
            "  confirm: {within: 90s, deadman: 3min, checks: [ssh, lan]}\n"
        )
        + f"upgrade: {{image: {{file: x.itb, sha256: '{'0' * 64}'}}, keep: [/etc/a, /etc/b]}}\n"
    )

    plan = plan_of(plan_with(text))
    slots, upgrade = plan.slots, plan.upgrade
    assert slots is not None and upgrade is not None and upgrade.image is not None

    assert (slots.kernel, slots.firmware_bytes, slots.data_bytes, slots.tries) == ("shared", 2**30, 2**23, 9)
    assert slots.on_crash == GoodFirst(good=2)
    assert (slots.confirm.within_seconds, slots.confirm.deadman_seconds) == (90, 180)
    assert (slots.confirm.forced_restart_seconds, slots.confirm.checks) == (180, ("ssh", "lan"))
    assert (upgrade.image.file, upgrade.image.sha256, upgrade.keep) == ("x.itb", "0" * 64, ("/etc/a", "/etc/b"))


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ("  on_crash: recovery\n", []),
        ("  on_crash: {good: 9}\n", []),
        ("  on_crash: {good: 0}\n", ["BP113"]),
        ("  on_crash: {good: 10}\n", ["BP113"]),
        ("  on_crash: {good: true}\n", ["BP006"]),
        ("  on_crash: {good: '2'}\n", ["BP006"]),
        ("  on_crash: {}\n", ["BP006"]),
        ("  on_crash: 3\n", ["BP006"]),
        ("  on_crash: null\n", ["BP006"]),
        ("  on_crash: [recovery]\n", ["BP006"]),
        ("  on_crash: {good: 2, bad: 1}\n", ["BP006"]),
        ("  tries: 0\n", ["BP113"]),
        ("  tries: '3'\n", ["BP005"]),
        ("  tries: 10\n", ["BP113"]),
        ("  confirm: {within: 29s}\n", ["BP112"]),
        ("  confirm: {within: 61min}\n", ["BP112"]),
        ("  confirm: {within: 10}\n", ["BP005"]),
        ("  confirm: {within: '10'}\n", ["BP112"]),
        ("  confirm: {within: null}\n", ["BP005"]),
        ("  confirm: {deadman: 121min}\n", ["BP112"]),
        ("  confirm: {checks: [lan, net]}\n", ["BP006"]),
        ("  confirm: {checks: lan}\n", ["BP005"]),
        ("  confirm: {check: [lan]}\n", ["BP002"]),
        ("  room: {firmware: 24}\n", ["BP005"]),
        ("  room: {firmware: 24M}\n", ["BP101"]),
        ("  room: {kernel: 24MiB}\n", ["BP002"]),
        ("  kernel: both\n", ["BP006"]),
        ("  c: {root: root-c}\n", ["BP002"]),
    ],
)
def test_each_value_of_slots_has_its_code(plan_with: PlanWith, lines: str, codes: list[str]) -> None:
    assert codes_of(plan_with(with_slots(lines))) == codes


@pytest.mark.parametrize("path", ["/etc/wireguard", "/root/a.b", "/etc/..a", "/x"])
def test_a_path_can_be_kept(plan_with: PlanWith, path: str) -> None:
    assert codes_of(plan_with(f"upgrade: {{keep: ['{path}']}}\n")) == []


@pytest.mark.parametrize(
    "path", ["etc/x", "/", "", "/etc/", "/etc//x", "/etc/../x", "/etc/.", "/a b", "/a*", "/$(x)", "#/x", "/a\n", "/ü"]
)
def test_a_path_that_a_line_or_a_shell_would_misread_is_refused(plan_with: PlanWith, path: str) -> None:
    quoted = path.replace("\n", "\\n")

    assert codes_of(plan_with(f'upgrade: {{keep: ["{quoted}"]}}\n')) == ["BP116"]


@pytest.mark.parametrize(
    ("file", "sha256", "codes"),
    [
        ("a.itb", "0" * 64, []),
        ("openwrt-25.12.0~r1+x_y.itb", "0a" * 32, []),
        ("../a.itb", "0" * 64, ["BP115"]),
        ("-n", "0" * 64, ["BP115"]),
        ("a b", "0" * 64, ["BP115"]),
        ("x" * 201, "0" * 64, ["BP115"]),
        ("a.itb", "0" * 63, ["BP114"]),
        ("a.itb", "0" * 65, ["BP114"]),
        ("a.itb", "A" * 64, ["BP114"]),
        ("a.itb", "0" * 63 + "\\n", ["BP114"]),
    ],
)
def test_an_image_is_a_name_and_a_sum(plan_with: PlanWith, file: str, sha256: str, codes: list[str]) -> None:
    assert codes_of(plan_with(f'upgrade: {{image: {{file: "{file}", sha256: "{sha256}"}}}}\n')) == codes


def test_a_medium_is_what_its_type_says(plan_with: PlanWith) -> None:
    assert isinstance(plan_of(plan_with("media:\n  chip: {type: emmc}\n")).media["chip"], Emmc)


def test_a_partition_is_found_by_name(plan_with: PlanWith) -> None:
    plan = plan_of(plan_with(""))

    found = plan.find_partition("root")

    assert found is not None
    assert found[:2] == ("ssd", 0)
    assert plan.find_partition("other") is None


@pytest.mark.parametrize("serial", ["S4EWNF0M531930D", "'\"$(reboot)`'''", '"a b"', "'-n'", "x" * 20, '"#1"'])
def test_a_serial_number_is_free_text(plan_with: PlanWith, serial: str) -> None:
    assert codes_of(plan_with(with_disk(serial=serial))) == []


@pytest.mark.parametrize("serial", ['""', '" x"', '"x "', "ü", "x" * 21, '"a\\tb"', '"a\\nb"', '"\\0"'])
def test_a_wrong_serial_number_is_refused(plan_with: PlanWith, serial: str) -> None:
    assert codes_of(plan_with(with_disk(serial=serial))) == ["BP103"]


@pytest.mark.parametrize("pci", ["0002:01:00.0", "ffff:ff:1f.7"])
def test_a_pci_address_is_accepted(plan_with: PlanWith, pci: str) -> None:
    assert codes_of(plan_with(with_disk(pci=f'"{pci}"'))) == []


@pytest.mark.parametrize(
    "pci", ["01:00.0", "0002:01:00.8", "0002:01:20.0", "0002:01:00", "0002:0A:00.0", "0002:01:00.0\\n"]
)
def test_a_wrong_pci_address_is_refused(plan_with: PlanWith, pci: str) -> None:
    assert codes_of(plan_with(with_disk(pci=f'"{pci}"'))) == ["BP104"]


@pytest.mark.parametrize("name", ["root", "R", "0", "root-a", "root_a", "a.b", "x" * 16])
def test_a_partition_name_is_accepted(plan_with: PlanWith, name: str) -> None:
    assert codes_of(plan_with(with_partition(name=f'"{name}"'))) == []


@pytest.mark.parametrize("name", ["", "x" * 17, "-a", ".a", "a b", "a/b", "ü", "a$b", "a\\n"])
def test_a_wrong_partition_name_is_refused(plan_with: PlanWith, name: str) -> None:
    assert codes_of(plan_with(with_partition(name=f'"{name}"'))) == ["BP102"]


@pytest.mark.parametrize("mount", ["/srv", "/srv/a.b/c_d", "/..a", "/a..", "/.hidden", "/mnt/data+1"])
def test_a_mount_point_is_accepted(plan_with: PlanWith, mount: str) -> None:
    assert codes_of(plan_with(with_partition(mount=f'"{mount}"'))) == []


@pytest.mark.parametrize(
    "mount",
    [
        "srv",
        "",
        "/",
        "//srv",
        "/srv/",
        "/srv//a",
        "/..",
        "/a/../b",
        "/a/..",
        "/.",
        "/a/./b",
        "/a b",
        "/$(x)",
        "/a\\n",
        "/" + "x" * 128,
    ],
)
def test_a_wrong_mount_point_is_refused(plan_with: PlanWith, mount: str) -> None:
    assert codes_of(plan_with(with_partition(mount=f'"{mount}"'))) == ["BP105"]


@pytest.mark.parametrize(
    ("fragment", "code"),
    [
        ('name: ""\n', "BP107"),
        ('name: "   "\n', "BP107"),
        ('name: "a\\nb"\n', "BP107"),
        ('name: "a\\e[31m"\n', "BP107"),
        (f"name: {'x' * 65}\n", "BP107"),
        ("media: {A: {type: sd}}\n", "BP108"),
        ('media: {"a b": {type: sd}}\n', "BP108"),
        (f"media: {{{'x' * 17}: {{type: sd}}}}\n", "BP108"),
        ("media: {ssd: {type: sd, capacity: 8}}\n", "BP005"),
        ("media: {ssd: {type: sd, capacity: 8G}}\n", "BP101"),
        ("packages: [UPPER]\n", "BP106"),
        ('packages: ["a;reboot"]\n', "BP106"),
        ('packages: ["-a"]\n', "BP106"),
        ('root: {method: cmdline, arguments: ["a b"]}\n', "BP109"),
        ("root: {method: cmdline, arguments: ['a\"']}\n", "BP109"),
        ('root: {method: cmdline, arguments: ["$x"]}\n', "BP109"),
        ("root: {method: cmdline, rootwait: 0}\n", "BP110"),
        ("root: {method: cmdline, rootwait: 301}\n", "BP110"),
        ("root: {method: cmdline, panic: 0}\n", "BP110"),
        ("root: {method: cmdline, panic: 61}\n", "BP110"),
        ("root: {method: cmdline, panic: 5.0}\n", "BP005"),
        ("root: {method: cmdline, panic: true}\n", "BP005"),
        ('boot: {medium: nand, switch: "2"}\n', "BP111"),
        ('boot: {medium: nand, switch: "012"}\n', "BP111"),
        ("boot: {medium: nand, switch: 01}\n", "BP005"),
        ("board: {model: bpi-r4, ram: 2GiB}\n", "BP006"),
        ("board: {model: bpi-r4, ram: 4}\n", "BP005"),
        ("firmware: {release: 25.12}\n", "BP005"),
        ('firmware: {release: "23.05"}\n', "BP006"),
        ("version: 2\n", "BP006"),
        ("version: 1.0\n", "BP005"),
        ("version: true\n", "BP005"),
        ('version: "1"\n', "BP005"),
        ("media: {}\n", "BP003"),
        ("media: {ssd: {serial: A1}}\n", "BP003"),
        ("media: {ssd: {type: floppy}}\n", "BP006"),
        ("media: {ssd: {type: 3}}\n", "BP006"),
        ("media: {ssd: {type: [nvme]}}\n", "BP006"),
        ("media: [ssd]\n", "BP005"),
        ("packages: {a: b}\n", "BP005"),
        ("extra: 1\n", "BP002"),
    ],
)
def test_each_wrong_value_has_its_code(plan_with: PlanWith, fragment: str, code: str) -> None:
    assert codes_of(plan_with(fragment)) == [code]


def test_everything_wrong_is_told_at_once() -> None:
    text = "version: 2\nname: ''\nboard: {}\nfirmware: {release: 25.12}\nboot: {medium: x}\n"
    text += "media: {A: {type: y}}\nroot: {}\n"

    assert codes_of(text) == ["BP006", "BP107", "BP003", "BP005", "BP006", "BP108", "BP006", "BP003"]
