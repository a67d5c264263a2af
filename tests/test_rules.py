"""Every code has an explanation whose examples are true, and plans that show exactly what is said."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from bootplan.board import load_board
from bootplan.bootargs import bootargs
from bootplan.chooser import ROOT, SLOTS, Choice, variables
from bootplan.compiler import check
from bootplan.diagnostics import Severity
from bootplan.images import is_of_release, read_name
from bootplan.plan import Plan
from bootplan.report import as_text
from bootplan.rules import explained
from bootplan.rules.cmdline import OWN_BYTES

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
EXAMPLES = sorted(Path(__file__).parent.parent.glob("plans/*.yaml"))
WHOLE_TEXT = {"BP001", "BP004", "BP007", "BP008", "BP009", "BP010", "BP011", "BP012"}
TOLD = [code for code, rule in explained().items() if "\nTold of:\n" in rule.explanation]
MOUNTED = (
    "media: {{ssd: {{type: nvme, serial: A1, "
    "partitions: [{{name: data, size: rest, filesystem: f2fs, mount: {mount}}}]}}}}\n"
    "root: {{method: internal}}\n"
)

REAL_SUM = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

Golden = Callable[[Path, str], None]
PlanWith = Callable[[str], str]


def codes_of(text: str | bytes) -> set[str]:
    """The codes of everything there is to say about a plan."""
    return {one.code for one in check(text, "plan.yaml").diagnostics}


@cache
def whole_plans() -> list[Plan]:
    """All plans of the tests and the examples whose shape is right."""
    checked = [check(path.read_bytes(), path.name) for path in [*BAD, *EXAMPLES]]
    return [one.plan for one in checked if one.plan is not None]


def example(explanation: str, heading: str) -> str:
    """The indented block under *heading* in an explanation."""
    match = re.search(rf"^{heading}:\n((?:    .*\n|\n)+)", explanation, re.MULTILINE)
    assert match, f"there is no example under '{heading}:'"
    return re.sub("^    ", "", match[1], flags=re.MULTILINE).strip("\n") + "\n"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_plan_is_answered_in_full(path: Path, golden: Golden) -> None:
    checked = check(path.read_bytes(), path.name)

    assert path.stem[:5] in {one.code for one in checked.diagnostics}
    golden(path.with_suffix(".txt"), as_text(checked.diagnostics, checked.document))


def test_every_code_has_a_bad_plan_and_every_report_a_plan() -> None:
    assert {path.stem[:5] for path in BAD} == set(explained())
    assert {path.stem for path in (Path(__file__).parent / "bad").glob("*.txt")} == {path.stem for path in BAD}


@pytest.mark.parametrize("code", explained())
def test_the_examples_of_an_explanation_are_true(code: str, plan_with: PlanWith) -> None:
    explanation = explained()[code].explanation
    if code in TOLD:
        assert code in codes_of(plan_with(example(explanation, "Told of")))
        assert check(plan_with(example(explanation, "Told of")), "plan.yaml").holds(strict=True)
        return
    wrong, right = example(explanation, "Wrong"), example(explanation, "Right")
    if code not in WHOLE_TEXT:
        wrong = plan_with(wrong)
    answer = check(plan_with(right), "plan.yaml")

    assert code in codes_of(wrong)
    assert code not in {one.code for one in answer.diagnostics}
    assert answer.holds(strict=True), answer.diagnostics


@pytest.mark.parametrize("code", TOLD)
def test_a_note_about_a_good_plan_says_what_to_do(code: str) -> None:
    rule = explained()[code]

    assert rule.severity is Severity.NOTE
    assert re.search(r"^Do:\n    \S", rule.explanation, re.MULTILINE)
    assert "Wrong:" not in rule.explanation and "Right:" not in rule.explanation


def risks(plan: Plan) -> set[str]:
    """What makes a plan riskier than another one."""
    found = {
        "a kernel of your own": plan.firmware.kernel != "stock",
        "a snapshot": plan.firmware.release == "snapshot",
        "no way back": plan.slots is None,
        "root by the command line": plan.root.method == "cmdline",
        "settings dropped": plan.upgrade is not None and plan.upgrade.settings == "drop",
    }
    return {risk for risk, there in found.items() if there}


@pytest.mark.parametrize("code", [code for code, rule in explained().items() if rule.severity is not Severity.ERROR])
def test_what_is_right_is_no_riskier_than_what_is_wrong(code: str, plan_with: PlanWith) -> None:
    """Where a plan holds either way; what is refused may only be right with a kernel of one's own."""
    explanation = explained()[code].explanation
    if code in TOLD:
        return
    wrong, right = (check(plan_with(example(explanation, one)), "plan.yaml").plan for one in ("Wrong", "Right"))

    assert wrong is not None and right is not None
    assert risks(right) <= risks(wrong)


@pytest.mark.parametrize("code", explained())
def test_an_explanation_says_what_and_names_a_source(code: str) -> None:
    explanation = explained()[code].explanation
    title, blank, *_ = explanation.splitlines()

    assert title.endswith(".")
    assert blank == ""
    assert re.search(r"^Source: \S", explanation, re.MULTILINE)


def test_warnings_and_notes_let_a_plan_pass(plan_with: PlanWith) -> None:
    checked = check(plan_with("packages: [tcpdump, tcpdump]\n"), "plan.yaml")

    assert {one.severity for one in checked.diagnostics} == {Severity.WARNING, Severity.NOTE}
    assert checked.holds()
    assert not checked.holds(strict=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_plans_hold(path: Path) -> None:
    """And nothing is doubtful in them but the sums, which stand for those of the owner's files."""
    checked = check(path.read_bytes(), path.name)

    assert checked.holds()
    assert {one.code for one in checked.diagnostics if one.severity is Severity.WARNING} <= {"BP806"}
    real = path.read_text(encoding="utf-8").replace("0123456789abcdef" * 4, REAL_SUM)
    assert check(real, path.name).holds(strict=True)


@pytest.mark.parametrize(
    ("serial", "right"),
    [
        ("<your serial>", False),
        ("???", False),
        ("S4EWNF0M53193??", False),
        ("XXXX", False),
        ("S4EWNF0MXXXXXXX", False),
        ("TODO", False),
        ("todo: serial", False),
        ("YOUR-SERIAL-NUMBER", False),
        ("changeme", False),
        ("...", False),
        ("S4EWNF0M531930D", True),
        ("2J1820000000", True),
        ("XXX1234", True),
        ("0123456789ABCDEF", True),
        ("AA000000000000000001", True),
        ("NVME-SSD-0001", True),
        ("PLACEBO", True),
        ("1", True),
    ],
)
def test_a_serial_number_is_no_placeholder(plan_with: PlanWith, serial: str, right: bool) -> None:
    disk = f"{{type: nvme, serial: '{serial}', partitions: [{{name: root, size: 8GiB, filesystem: ext4}}]}}"

    assert ("BP215" not in codes_of(plan_with(f"media: {{ssd: {disk}}}\n"))) is right


@pytest.mark.parametrize(
    ("digits", "right"),
    [("0" * 64, False), ("0123456789abcdef" * 4, False), ("deadbeef" * 8, False), ("0" * 63 + "1", True)],
)
def test_a_sum_is_no_placeholder(plan_with: PlanWith, digits: str, right: bool) -> None:
    image = f"{{file: {PREFIX}-initramfs-recovery.itb, sha256: '{digits}'}}"

    assert ("BP806" not in codes_of(plan_with(f"recovery: {{image: {image}}}\n"))) is right


def test_the_rules_see_all_mistakes_at_once(plan_with: PlanWith) -> None:
    text = plan_with(
        'board: {model: bpi-r4-lite}\nboot: {medium: sd, switch: "10"}\n'
        "media: {ssd: {type: nvme, partitions: [{name: fit, size: 1MiB, filesystem: f2fs, mount: /etc}]}}\n"
        "root: {method: cmdline, partition: other}\npackages: [opkg]\n"
    )

    assert codes_of(text) == {"BP201", "BP202", "BP204", "BP207", "BP211", "BP213", "BP301", "BP303", "BP401", "BP903"}


MISTAKES = {
    "board": ("board: {model: bpi-r4-lite}\n", "BP201"),
    "boot": ('boot: {medium: nand, switch: "11"}\n', "BP202"),
    "media": (MOUNTED.format(mount="/etc"), "BP213"),
    "packages": ("packages: [mkfs.ext4]\n", "BP401"),
    "recovery": ("recovery: {server: 10.0.0.1}\n", "BP823"),
    "root": ("root: {method: extroot-overlay, partition: other}\n", "BP303"),
}
WRONG = {
    "board": "board: {model: 4}\n",
    "firmware": "firmware: {release: 25.12}\n",
    "boot": "boot: {medium: nandd}\n",
    "media": "media: {ssd: {type: nvme, serial: '', partitions: [{name: root, size: 8GiB, filesystem: ext4}]}}\n",
    "name": "name: 12\n",
    "packages": "packages: [1]\n",
    "recovery": "recovery: {server: pc}\n",
    "root": "root: {method: none, partition: root}\n",
    "version": "version: 2\n",
}


@pytest.mark.parametrize("here", MISTAKES)
@pytest.mark.parametrize("there", WRONG)
def test_a_wrong_value_hides_no_mistake_elsewhere(plan_with: PlanWith, here: str, there: str) -> None:
    text, code = MISTAKES[here]
    if here == there or f"\n{there}:" in f"\n{text}":
        return
    assert code in codes_of(plan_with(text))

    assert code in codes_of(plan_with(text + WRONG[there]))


@pytest.mark.parametrize("here", WRONG)
def test_nothing_is_said_because_of_a_wrong_value(plan_with: PlanWith, here: str) -> None:
    """But that it is wrong: what another value would say is not guessed."""
    sound = {one.code for one in check(plan_with(""), "plan.yaml").diagnostics}

    found = check(plan_with(WRONG[here]), "plan.yaml").diagnostics

    errors = [one for one in found if one.code not in sound]
    assert len(errors) == 1 and errors[0].path[0] == here


def test_the_rules_see_a_partition_beside_a_wrong_one(plan_with: PlanWith) -> None:
    text = plan_with(
        "media: {ssd: {type: nvme, serial: A1, partitions: [{name: fit, size: 8GiB, filesystem: ext4, mount: /etc}, "
        "{name: root, size: 8G, filesystem: ext4}]}, other: {type: nvme, partitions: []}}\n"
    )

    assert codes_of(text) >= {"BP101", "BP204", "BP207", "BP213"} and "BP303" not in codes_of(text)


@pytest.mark.parametrize("medium", ["nand", "emmc"])
def test_a_command_line_is_not_too_long(plan_with: PlanWith, medium: str) -> None:
    def codes(letters: int) -> set[str]:
        arguments = [f"a{number}={'x' * 90}" for number in range(7)] + ["b" * letters]
        return codes_of(
            plan_with(
                'firmware: {release: "25.12", kernel: nvme-builtin}\n'
                f"boot: {{medium: {medium}}}\n"
                f"root: {{method: cmdline, partition: root, arguments: [{', '.join(arguments)}]}}\n"
            )
        )

    assert "BP308" not in codes(60)
    assert "BP308" in codes(150)


@pytest.mark.parametrize("medium", load_board().media)
def test_what_the_script_adds_to_the_command_line_is_allowed_for(plan_with: PlanWith, medium: str) -> None:
    text = plan_with(
        f"boot: {{medium: {medium}}}\nroot: {{method: cmdline, partition: root, rootwait: 300, panic: 60}}\n"
    )
    plan, facts = check(text, "plan.yaml").plan, load_board().media[medium]
    assert plan is not None

    before, behind = bootargs(plan, facts)

    assert len(f"{before} root=PARTUUID={'0' * 36} {behind}") <= len(facts.bootargs) + OWN_BYTES


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("BPI-R4", "did you mean 'bpi-r4'?"),
        ("bpi_r4_poe", "did you mean 'bpi-r4-poe'?"),
        ("bpir4", "did you mean 'bpi-r4'?"),
        ("zx81", "if it is one of these, write bpi-r4 or bpi-r4-poe"),
    ],
)
def test_a_slip_in_the_board_is_recognised(plan_with: PlanWith, model: str, hint: str) -> None:
    found = check(plan_with(f"board: {{model: {model}}}\n"), "plan.yaml").diagnostics

    assert [one.hint for one in found if one.code == "BP201"] == [hint]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("bpi-r4-lite", "the Lite is another board with another SoC, the MT7987A"),
        ("bpi-r4-pro", "the Pro is another board with another layout"),
        ("bpi-r4-pro-8x", "the Pro 8X is another board with another layout"),
        ("bpi-r4-pro-4e", "the Pro 4E is another board with another layout"),
        ("bpi-r3", "the R3 is another board with another SoC, the MT7986"),
        ("bpi-r3-mini", "the R3 Mini is another board with another SoC, the MT7986"),
    ],
)
def test_another_board_is_refused_by_its_name(plan_with: PlanWith, model: str, reason: str) -> None:
    (only,) = [one for one in check(plan_with(f"board: {{model: {model}}}\n"), "x").diagnostics if one.code == "BP201"]

    assert only.message.startswith(f"'{model}' is not supported: {reason}")
    assert only.hint == "a script for a BPI-R4 would damage it; only bpi-r4 and bpi-r4-poe are supported"
    (slip,) = [
        one for one in check(plan_with(f"board: {{model: {model.upper()}}}\n"), "x").diagnostics if one.code == "BP201"
    ]
    assert slip.hint is not None and slip.hint.startswith(f"did you mean '{model}'? it is not supported: {reason}")


def test_one_name_of_a_board_is_that_of_another(plan_with: PlanWith) -> None:
    found = check(plan_with("board: {model: bpi-r4-2g5}\n"), "plan.yaml").diagnostics

    assert [one.hint for one in found if one.code == "BP201"] == ["write bpi-r4-poe"]


def test_the_board_a_slip_comes_close_to_may_be_another_one(plan_with: PlanWith) -> None:
    (only,) = [one for one in check(plan_with("board: {model: BPI-R4-Lite}\n"), "x").diagnostics if one.code == "BP201"]

    assert only.hint is not None
    assert only.hint.startswith("did you mean 'bpi-r4-lite'? it is not supported: the Lite is another board")


@pytest.mark.parametrize("code", [code for code, rule in explained().items() if rule.check])
def test_a_rule_reads_only_what_it_says(code: str) -> None:
    rule = explained()[code]
    assert rule.check is not None

    for plan in whole_plans():
        part = Plan.model_construct(**{name: getattr(plan, name) for name in rule.reads})
        for name in set(Plan.model_fields) - rule.reads:
            part.__dict__.pop(name, None)
        assert list(rule.check(part, load_board())) == list(rule.check(plan, load_board()))


AB = (
    "media: {ssd: {type: nvme, serial: A1, partitions: ["
    "{name: root-a, size: 8GiB, filesystem: ext4}, {name: root-b, size: 8GiB, filesystem: ext4}]}}\n"
)
CMDLINE = 'firmware: {release: "25.12", kernel: nvme-builtin}\nroot: {method: cmdline}\n'


def slots(**fields: str) -> str:
    """A `slots:` section with these fields besides its two slots."""
    fields = {"a": "{root: root-a}", "b": "{root: root-b}", **fields}
    return f"slots: {{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}\n"


@pytest.mark.parametrize(
    ("fragment", "right"),
    [
        ("root: {method: extroot-overlay}\n", True),
        (CMDLINE, True),
        (CMDLINE + "boot: {medium: emmc}\n", True),
        (CMDLINE + "boot: {medium: sd}\n", True),
        ('root: {method: extroot-overlay}\nfirmware: {release: "25.12", kernel: nvme-builtin}\n', True),
        ('root: {method: extroot-overlay}\nfirmware: {release: "24.10"}\n', True),
        ("root: {method: extroot-overlay}\nboot: {medium: emmc}\n", False),
        ("root: {method: extroot-pivot}\n", False),
        ("root: {method: internal}\n", False),
        ("root: {method: cmdline}\n", False),
    ],
)
def test_slots_go_with_what_can_switch(plan_with: PlanWith, fragment: str, right: bool) -> None:
    assert check(plan_with(AB + slots() + fragment), "plan.yaml").holds(strict=True) is right


CIRCLES = {"BP301", "BP307", "BP701", "BP706", "BP707"}
Settings = dict[str, str]


def following(text: str) -> list[Settings]:
    """What the hints of a plan's errors propose, each alternative with its settings by `section.key`."""
    hints = [one.hint or "" for one in check(text, "plan.yaml").diagnostics if one.severity is Severity.ERROR]
    return [
        dict(re.findall(r"`(\w+\.\w+): ([^`]+)`", alternative)) for hint in hints for alternative in hint.split(", or ")
    ]


@pytest.mark.parametrize("kernel", ["own", "shared"])
@pytest.mark.parametrize("medium", ["nand", "emmc", "sd"])
def test_whoever_follows_the_hints_gets_a_plan_that_holds(plan_with: PlanWith, medium: str, kernel: str) -> None:
    """From every plan with slots, by every alternative, and without coming to a plan twice."""

    def text(settings: Settings) -> str:
        return plan_with(
            AB
            + f"firmware: {{release: {settings['firmware.release']}, kernel: {settings['firmware.kernel']}}}\n"
            + f"boot: {{medium: {settings['boot.medium']}}}\nroot: {{method: {settings['root.method']}}}\n"
            + slots(kernel=settings["slots.kernel"])
        )

    def follow(settings: Settings, seen: tuple[Settings, ...]) -> None:
        assert settings not in seen, seen
        checked = check(text(settings), "plan.yaml")
        errors = {one.code for one in checked.diagnostics if one.severity is Severity.ERROR}
        assert errors <= CIRCLES
        for alternative in following(text(settings)):
            assert alternative, [one.hint for one in checked.diagnostics]
            follow(settings | alternative, (*seen, settings))
        assert errors or checked.holds(strict=True)

    for release in ('"24.10"', '"25.12"', "snapshot"):
        for firmware in ("stock", "nvme-builtin"):
            for method in ("extroot-overlay", "extroot-pivot", "cmdline", "internal"):
                start = {"firmware.release": release, "firmware.kernel": firmware, "boot.medium": medium}
                follow(start | {"root.method": method, "slots.kernel": kernel}, ())


def test_slots_on_the_emmc_need_a_kernel_with_nvme(plan_with: PlanWith) -> None:
    text = plan_with(AB + slots() + "boot: {medium: emmc}\nroot: {method: extroot-overlay}\n")

    assert {"root.method": "cmdline", "firmware.kernel": "nvme-builtin"} in following(text)


@pytest.mark.parametrize("medium", ["nand", "emmc", "sd"])
def test_both_slots_may_have_one_kernel(plan_with: PlanWith, medium: str) -> None:
    text = plan_with(AB + slots(kernel="shared") + CMDLINE + f"boot: {{medium: {medium}}}\n")

    assert check(text, "plan.yaml").holds(strict=True)


@pytest.mark.parametrize(
    ("method", "room", "fits"),
    [
        ("root: {method: extroot-overlay}\n", "{}", True),
        ("root: {method: extroot-overlay}\n", "{firmware: 29MiB}", True),
        ("root: {method: extroot-overlay}\n", "{firmware: 30MiB}", False),
        ("root: {method: extroot-overlay}\n", "{data: 21MiB}", True),
        ("root: {method: extroot-overlay}\n", "{data: 22MiB}", False),
        (CMDLINE, "{}", True),
        (CMDLINE, "{firmware: 25MiB}", False),
        (CMDLINE, "{data: 18MiB}", True),
        (CMDLINE, "{data: 19MiB}", False),
        (CMDLINE, "{firmware: 64TiB, data: 64TiB}", False),
    ],
)
def test_the_nand_has_room_for_so_much(plan_with: PlanWith, method: str, room: str, fits: bool) -> None:
    assert ("BP708" not in codes_of(plan_with(AB + slots(room=room) + method))) is fits


def test_the_room_on_the_nand_is_counted_in_eraseblocks() -> None:
    ubi = load_board().media["nand"].ubi
    assert ubi is not None

    # 1008 of the device; 6 and 20 of UBI; fip 17, two environments of 9, emmc_install 67, recovery 133.
    assert ubi.free_blocks == 1008 - 6 - 20 - 17 - 2 * 9 - 67 - 133
    assert [ubi.blocks(size) for size in (1, 0x1F000, 0x1F001, 24 * 2**20)] == [1, 1, 2, 199]


@pytest.mark.parametrize(
    ("file", "right"),
    [
        ("openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", True),
        ("openwrt-25.12.0-rc2-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", True),
        ("openwrt-25.12.5-slots-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", True),
        ("openwrt-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", True),
        ("my-own_Build.3-bananapi_bpi-r4-squashfs-sysupgrade.itb", True),
        ("bananapi_bpi-r4-squashfs-sysupgrade.itb", True),
        ("openwrt-24.10.7-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", False),
        ("openwrt-25.12-SNAPSHOT-r1-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", False),
        ("openwrt-25.12-snapshot-r1-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", False),
        ("openwrt-snapshot-r30000-0123456789-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.itb", False),
        ("openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-poe-squashfs-sysupgrade.itb", False),
        ("openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-lite-squashfs-sysupgrade.itb", False),
        ("openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-squashfs-sysupgrade.bin", False),
        ("openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb", False),
        ("openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r3-squashfs-sysupgrade.itb", False),
        ("notbananapi_bpi-r4-squashfs-sysupgrade.itb", False),
        ("openwrt-25.12.5-bpi-r4-squashfs-sysupgrade.itb", False),
    ],
)
def test_an_image_is_known_by_its_name(plan_with: PlanWith, file: str, right: bool) -> None:
    image = f"upgrade: {{image: {{file: {file}, sha256: '{'0' * 64}'}}}}\n"

    assert ("BP722" not in codes_of(plan_with(AB + slots() + "root: {method: extroot-overlay}\n" + image))) is right


PREFIX = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4"
SNAPSHOT = "openwrt-mediatek-filogic-bananapi_bpi-r4"


def file(name: str) -> str:
    """A file of a release in a plan."""
    return f"{{file: {name}, sha256: '{REAL_SUM}'}}"


@pytest.mark.parametrize(
    ("model", "ram", "name", "codes"),
    [
        ("bpi-r4", "", f"{PREFIX}-sdcard.img.gz", set()),
        ("bpi-r4", ", ram: 4GiB", f"{PREFIX}-sdcard.img.gz", set()),
        ("bpi-r4", "", f"{SNAPSHOT}-sdcard.img.gz", set()),
        ("bpi-r4", "", "my-own-bananapi_bpi-r4-sdcard.img.gz", set()),
        ("bpi-r4", "", "openwrt-25.12-SNAPSHOT-r1-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz", {"BP802"}),
        ("bpi-r4", "", "openwrt-26.06.0-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz", {"BP802"}),
        ("bpi-r4-poe", "", f"{PREFIX}-poe-sdcard.img.gz", set()),
        ("bpi-r4-poe", "", f"{PREFIX}-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-poe-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-lite-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-2g5-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-pro-8x-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-mini-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-sdcard.img", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-sdcard.img.gz.gz", {"BP801"}),
        ("bpi-r4", "", f"{PREFIX}-emmc-preloader.bin", {"BP801"}),
        ("bpi-r4", "", "openwrt-25.12.5-bpi-r4-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", "notbananapi_bpi-r4-sdcard.img.gz", {"BP801"}),
        ("bpi-r4", "", "bpi-r4-sdmmc-SNAPSHOT.img.gz", {"BP801"}),
        ("bpi-r4", ", ram: 8GiB", f"{SNAPSHOT}-sdcard_8g.img.gz", set()),
        ("bpi-r4-poe", ", ram: 8GiB", f"{SNAPSHOT}-poe-sdcard_8g.img.gz", set()),
        ("bpi-r4", ", ram: 8GiB", f"{PREFIX}-sdcard.img.gz", {"BP804"}),
        ("bpi-r4", ", ram: 4GiB", f"{SNAPSHOT}-sdcard_8g.img.gz", {"BP804"}),
        ("bpi-r4", "", f"{SNAPSHOT}-sdcard_8g.img.gz", {"BP804"}),
    ],
)
def test_a_card_is_known_by_its_name(plan_with: PlanWith, model: str, ram: str, name: str, codes: set[str]) -> None:
    text = plan_with(f"board: {{model: {model}{ram}}}\nfallback: {{medium: sd, image: {file(name)}}}\n")

    assert {code for code in codes_of(text) if code.startswith("BP80")} == codes


@pytest.mark.parametrize(
    ("medium", "ram", "release", "written", "codes"),
    [
        ("nand", "4GiB", "25.12", f"bl2: {file(PREFIX + '-snand-preloader.bin')}", set()),
        ("nand", "8GiB", "25.12", f"fip: {file(PREFIX + '-snand-bl31-uboot.fip')}", set()),
        ("emmc", "4GiB", "25.12", f"bl2: {file(PREFIX + '-emmc-preloader.bin')}", set()),
        ("emmc", "4GiB", "25.12", f"fip: {file(PREFIX + '-emmc-bl31-uboot.fip')}", set()),
        ("nand", "8GiB", "snapshot", f"bl2: {file(SNAPSHOT + '-snand-preloader-8g.bin')}", set()),
        ("emmc", "8GiB", "snapshot", f"bl2: {file(SNAPSHOT + '-emmc-preloader-8g.bin')}", set()),
        ("nand", "8GiB", "snapshot", f"bl2: {file(SNAPSHOT + '-snand-preloader.bin')}", {"BP814"}),
        ("nand", "4GiB", "snapshot", f"bl2: {file(SNAPSHOT + '-snand-preloader-8g.bin')}", {"BP814"}),
        ("nand", "4GiB", "25.12", f"bl2: {file(PREFIX + '-snand-preloader-8g.bin')}", {"BP814"}),
        ("nand", "8GiB", "25.12", f"bl2: {file(PREFIX + '-snand-preloader.bin')}", {"BP814"}),
        ("nand", "8GiB", "24.10", f"bl2: {file(SNAPSHOT + '-snand-preloader-8g.bin')}", {"BP814"}),
        ("nand", "8GiB", "snapshot", f"bl2: {file(SNAPSHOT + '-emmc-preloader-8g.bin')}", {"BP812"}),
        ("nand", "4GiB", "25.12", f"bl2: {file(PREFIX + '-emmc-preloader.bin')}", {"BP812"}),
        ("emmc", "4GiB", "25.12", f"fip: {file(PREFIX + '-snand-bl31-uboot.fip')}", {"BP812"}),
        ("nand", "4GiB", "25.12", f"bl2: {file(PREFIX + '-snand-bl31-uboot.fip')}", {"BP812"}),
        ("nand", "4GiB", "25.12", f"fip: {file(PREFIX + '-poe-snand-bl31-uboot.fip')}", {"BP812"}),
        ("nand", "4GiB", "25.12", f"fip: {file(PREFIX + '-fip.img')}", {"BP812"}),
        ("nand", "4GiB", "24.10", f"fip: {file(PREFIX + '-snand-bl31-uboot.fip')}", {"BP813"}),
        ("nand", "4GiB", "snapshot", f"fip: {file(PREFIX + '-snand-bl31-uboot.fip')}", {"BP813"}),
        ("nand", "4GiB", "25.12", "{}", set()),
        ("nand", "4GiB", "25.12", "mtd_rw: true", {"BP815"}),
        ("sd", "4GiB", "25.12", f"fip: {file(PREFIX + '-snand-bl31-uboot.fip')}", {"BP811"}),
        ("sd", "4GiB", "25.12", "{}", {"BP811"}),
    ],
)
def test_a_boot_loader_fits_board_medium_memory_and_release(
    plan_with: PlanWith, medium: str, ram: str, release: str, written: str, codes: set[str]
) -> None:
    text = plan_with(
        f"board: {{model: bpi-r4, ram: {ram}}}\nboot: {{medium: {medium}}}\nfirmware: {{release: '{release}'}}\n"
        + ("bootloader: {}\n" if written == "{}" else f"bootloader: {{{written}}}\n")
    )

    assert {code for code in codes_of(text) if code.startswith("BP81")} == codes | {"BP817"}


@pytest.mark.parametrize(
    ("server", "right"),
    [
        ("192.168.1.254", True),
        ("192.168.1.2", True),
        ("192.168.1.1", False),
        ("192.168.1.0", False),
        ("192.168.1.255", False),
        ("192.168.2.254", False),
        ("0.0.0.0", False),
        ("127.0.0.1", False),
        ("224.0.0.1", False),
    ],
)
def test_a_server_hangs_on_the_same_cable(plan_with: PlanWith, server: str, right: bool) -> None:
    assert ("BP823" not in codes_of(plan_with(f"recovery: {{server: {server}}}\n"))) is right


@pytest.mark.parametrize(
    ("rootwait", "confirm", "right"),
    [
        ("", "{}", True),
        ("", "{within: 90s}", True),
        ("", "{within: 89s}", False),
        (", rootwait: 300", "{within: 360s}", True),
        (", rootwait: 300", "{within: 5min}", False),
        ("", "{deadman: 11min}", True),
        ("", "{deadman: 659s}", False),
        ("", "{within: 60min}", True),
        ("", "{within: 60min, deadman: 10min}", False),
    ],
)
def test_a_trial_has_time(plan_with: PlanWith, rootwait: str, confirm: str, right: bool) -> None:
    root = f'firmware: {{release: "25.12", kernel: nvme-builtin}}\nroot: {{method: cmdline{rootwait}}}\n'

    assert ("BP712" not in codes_of(plan_with(AB + slots(confirm=confirm) + root))) is right


@pytest.mark.parametrize("argument", ["nowatchdog", "nmi-watchdog=0", "watchdog.open_timeout=0", "softlockup_panic=0"])
def test_only_slots_count_on_the_end_of_a_hang(plan_with: PlanWith, argument: str) -> None:
    def codes(root: str, rest: str) -> set[str]:
        own_kernel = 'firmware: {release: "25.12", kernel: nvme-builtin}\n'
        return codes_of(plan_with(f"{own_kernel}root: {{method: cmdline, {root}arguments: [{argument}]}}\n{rest}"))

    assert "BP711" not in codes("partition: root, ", "")
    assert "BP711" in codes("", AB + slots())


def test_the_longest_command_line_fits_into_a_variable(plan_with: PlanWith) -> None:
    def plan(letters: int) -> str:
        arguments = [f"a{number}={'x' * 90}" for number in range(5)] + ["b" * letters]
        root = f"root: {{method: cmdline, rootwait: 300, panic: 60, arguments: [{', '.join(arguments)}]}}\n"
        return plan_with(AB + slots() + 'firmware: {release: "25.12", kernel: nvme-builtin}\n' + root)

    longest = max(letters for letters in range(1, 200) if "BP308" not in codes_of(plan(letters)))
    checked, medium = check(plan(longest), "plan.yaml"), load_board().media["nand"]
    assert checked.plan is not None
    before, behind = bootargs(checked.plan, medium, "root-a")
    lines = {slot: f"{before} root=PARTUUID=${ROOT[slot]} {behind}" for slot in SLOTS}

    assert longest < 199
    assert max(map(len, variables(Choice(3, 0, "volume", lines), "").values())) <= 1000


def test_partition_ten_is_mounted_before_partition_two(plan_with: PlanWith) -> None:
    small = "".join(f"      - {{name: p{number}, size: 1GiB, filesystem: ext4}}\n" for number in range(3, 10))
    text = plan_with(
        "media:\n  ssd:\n    type: nvme\n    serial: A1\n    partitions:\n"
        "      - {name: root, size: 1GiB, filesystem: ext4}\n"
        "      - {name: outer, size: 1GiB, filesystem: ext4, mount: /srv}\n"
        f"{small}"
        "      - {name: inner, size: 1GiB, filesystem: ext4, mount: /srv/inner}\n"
    )

    (only,) = [one for one in check(text, "plan.yaml").diagnostics if one.code == "BP212"]
    assert only.message == "/srv would hide /srv/inner"
    assert only.hint == (
        "partition 10 is mounted before partition 2; move both, so that their numbers are equally long"
    )


def test_a_partition_table_has_128_entries(plan_with: PlanWith) -> None:
    def plan(count: int) -> str:
        disk = "".join(f"      - {{name: p{number}, size: 1GiB, filesystem: ext4}}\n" for number in range(count))
        return plan_with(f"media:\n  ssd:\n    type: nvme\n    serial: A1\n    partitions:\n{disk}")

    assert "BP210" not in codes_of(plan(128))
    assert "BP210" in codes_of(plan(129))


@pytest.mark.parametrize(
    ("size", "fits"), [("238GiB", True), ("239GiB", False), ("244138MiB", True), ("244139MiB", False)]
)
def test_the_tables_at_both_ends_count(plan_with: PlanWith, size: str, fits: bool) -> None:
    text = plan_with(
        "media: {ssd: {type: nvme, serial: A1, capacity: 256GB, "
        f"partitions: [{{name: root, size: {size}, filesystem: ext4}}]}}}}\n"
    )

    assert ("BP210" not in codes_of(text)) is fits


@pytest.mark.parametrize(
    "mount",
    [
        "/etc/config",
        "/etc/dropbear",
        "/lib/modules",
        "/lib64",
        "/usr/share",
        "/usr/local",
        "/init",
        "/www/x",
        "/mnt",
        "/.bootplan",
        "/.bootplan/x",
    ],
)
def test_no_part_of_the_system_is_a_mount_point(plan_with: PlanWith, mount: str) -> None:
    assert "BP213" in codes_of(plan_with(MOUNTED.format(mount=mount)))


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/etc/wireguard", True),
        ("/etc/init.d/mine", True),
        ("/etc/openwrt_release", False),
        ("/etc/openwrt_version", False),
        ("/etc/os-release", False),
        ("/etc/rc.d", False),
        ("/etc/rc.d/S99mine", False),
        ("/etc/init.d", False),
        ("/etc/inittab", False),
        ("/etc/uci-defaults", False),
        ("/etc/uci-defaults/99-mine", False),
        ("/etc/apk/world", False),
        ("/etc/apk/repositories.d/customfeeds.list", True),
        ("/lib/apk", False),
        ("/lib/apk/db/installed", False),
        ("/lib/upgrade/keep.d/mine", False),
        ("/lib/firmware/mine.bin", True),
        ("/lib/firmware", False),
        ("/lib", False),
        ("/sbin/init", False),
        ("/sbin/mine", False),
        ("/bin/mine", False),
        ("/usr/lib/opkg/status", False),
        ("/usr/bin/mine", True),
        ("/usr/local/bin", True),
        ("/root/notes", True),
        ("/etcetera", True),
        ("/lib64x", True),
    ],
)
def test_no_part_of_the_system_is_kept(plan_with: PlanWith, path: str, right: bool) -> None:
    assert ("BP723" not in codes_of(plan_with(f"upgrade: {{keep: [{path}]}}\n"))) is right


@pytest.mark.parametrize(
    ("path", "right"),
    [("/srv", False), ("/srv/films", False), ("/srv/films/x", False), ("/srv/filmsx", True), ("/home", True)],
)
def test_nothing_on_a_partition_of_the_plan_is_kept(plan_with: PlanWith, path: str, right: bool) -> None:
    disk = (
        "partitions: [{name: root, size: 8GiB, filesystem: ext4}, "
        "{name: films, size: rest, filesystem: ext4, mount: /srv/films}]"
    )
    text = plan_with(f"media: {{ssd: {{type: nvme, serial: A1, {disk}}}}}\nupgrade: {{keep: [{path}]}}\n")

    assert ("BP723" not in codes_of(text)) is right


@pytest.mark.parametrize(
    ("method", "place", "right"),
    [
        ("internal", "/srv/backup", True),
        ("internal", "/srv", True),
        ("internal", "/root/backup", False),
        ("internal", "/srvx", False),
        ("internal", "/mnt/usb/backup", True),
        ("internal", "me@192.168.1.2:/root", True),
        ("extroot-overlay, partition: root", "/root/backup", True),
    ],
)
def test_a_backup_is_not_on_the_medium_that_is_written(
    plan_with: PlanWith, method: str, place: str, right: bool
) -> None:
    disk = (
        "partitions: [{name: root, size: 8GiB, filesystem: ext4}, "
        "{name: data, size: rest, filesystem: ext4, mount: /srv}]"
    )
    text = plan_with(
        f"media: {{ssd: {{type: nvme, serial: A1, {disk}}}}}\nroot: {{method: {method}}}\n"
        f"upgrade: {{backup: '{place}'}}\n"
    )

    assert ("BP727" not in codes_of(text)) is right


@pytest.mark.parametrize(
    ("argument", "right"),
    [
        ("quiet", True),
        ("loglevel=7", True),
        ("nvme_core.default_ps_max_latency_us=0", True),
        ("maxcpus=2", True),
        ("maxcpus=0", False),
        ("maxcpus=00", False),
        ("nosmp", False),
        ("kgdboc=ttyS0", True),
        ("kgdbwait", False),
        ("mem=1G", False),
        ("memtest=1", True),
        ("failsafe=", False),
        ("failsafe=true", False),
        ("my.failsafe=1", False),
        ("FAILSAFE=true", False),
        ("LD_PRELOAD=/x", False),
        ("PREINIT=1", False),
    ],
)
def test_an_argument_leaves_a_system_that_starts(plan_with: PlanWith, argument: str, right: bool) -> None:
    text = plan_with(
        'firmware: {release: "25.12", kernel: nvme-builtin}\n'
        f"root: {{method: cmdline, partition: root, arguments: [{argument}]}}\n"
    )

    assert ("BP308" not in codes_of(text)) is right


@pytest.mark.parametrize("mount", ["/mnt/data", "/root/films", "/srv", "/opt/docker", "/home", "/etcetera"])
def test_a_directory_of_your_own_is_a_mount_point(plan_with: PlanWith, mount: str) -> None:
    assert "BP213" not in codes_of(plan_with(MOUNTED.format(mount=mount)))


@pytest.mark.parametrize(
    "version",
    [
        "SNAPSHOT",
        "SNAPSHOT-r30000-0123456789",
        "snapshot-r30000-0123456789-0123abcd",
        "Snapshot-r1",
        "25.12-SNAPSHOT",
        "25.12-snapshot-r30000-0123456789",
        "24.10.7",
        "24.10.0-rc1",
    ],
)
def test_a_file_of_another_release_is_seen_in_its_name(version: str) -> None:
    board = load_board()

    name = read_name(f"openwrt-{version}-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz", board)

    assert name is not None and name.part == "sdcard.img.gz" and name.version is not None
    assert not is_of_release(name, "25.12", board)
    assert is_of_release(name, "snapshot", board) == version.upper().startswith("SNAPSHOT")
    assert name.version == name.version.replace("snapshot", "SNAPSHOT")


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("smartmontool", "smartmontools"),
        ("smartmontoolss", "smartmontools"),
        ("smartmontuols", "smartmontools"),
        ("samrtmontools", "smartmontools"),
        ("blok-mount", "block-mount"),
        ("kmod-nvne", "kmod-nvme"),
        ("smrtmontool", ""),
        ("kmod-usb2", ""),
        ("firewall", ""),
        ("cfdisk", ""),
        ("utcp", ""),
        ("smartmontools", ""),
    ],
)
def test_a_slip_of_one_letter_in_a_package_is_told(plan_with: PlanWith, name: str, close: str) -> None:
    """And nothing that may well be another package: a digit, a short name, one that is known to be near."""
    told = [one for one in check(plan_with(f"packages: [{name}]\n"), "plan.yaml").diagnostics if one.code == "BP404"]

    assert [one.hint for one in told] == ([f"did you mean '{close}'?"] if close else [])
    assert all(one.severity is Severity.WARNING for one in told)
