"""Serial logs: each case has a log of its own, and the answer to it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from bootlogs import BOARD, LOGS, log_of, told
from card_plans import plan_of, text_of

from bootplan.bootlog import Explanation, bare
from bootplan.compiler import check
from bootplan.failures import failures
from bootplan.logcases import Case, WrongCases, load_cases, plain_text
from bootplan.logreport import as_text
from bootplan.plan import Plan

NAMES = sorted(path.stem for path in LOGS.glob("*.log"))
CASES = {case.name: case for case in load_cases().cases}
# Logs that are no case's: what must be said of them.
OTHERS = {
    "good-nand": ("up", "nand", "production"),
    "good-sd": ("up", "sd", "production"),
    "good-emmc": ("up", "emmc", "production"),
    "unknown-early": ("bl2", "nand", None),
    "unknown-kernel": ("kernel", "nand", "production"),
    "unknown-board": (None, None, None),
}
PlanWith = Callable[[str], str]


def the_plan(text: str) -> Plan:
    """The plan in *text*, which holds."""
    checked = check(text, "plan.yaml")
    assert checked.holds() and checked.plan, checked.diagnostics
    return checked.plan


def found(explanation: Explanation) -> list[str]:
    """The names of the cases that hold, in the order they are told."""
    return [one.case.name for one in explanation.last.findings]


@pytest.fixture
def plans(plan_with: PlanWith) -> dict[str, Plan]:
    """For each condition a plan under which cases with it are looked at."""
    nand = "boot: {medium: nand}\n"
    large = "board: {model: bpi-r4, ram: 8GiB}\n"
    return {
        "ram-8GiB": the_plan(plan_with(large)),
        "ram-4GiB": the_plan(plan_with("board: {model: bpi-r4, ram: 4GiB}\n")),
        "disk": the_plan(plan_with("")),
        "other-medium": the_plan(plan_with(nand)),
    }


def test_each_case_has_a_log_and_each_log_is_of_a_case() -> None:
    assert set(CASES) <= set(NAMES)
    assert set(NAMES) - set(CASES) == set(OTHERS) | {"panic-then-recovery", "three-starts"}


@pytest.mark.parametrize("name", NAMES)
def test_each_log_has_its_answer(name: str, plans: dict[str, Plan], golden: Callable[[Path, str], None]) -> None:
    plan = plans.get(CASES[name].plan) if name in CASES else None

    explanation = told(log_of(name), plan)

    golden(LOGS / f"{name}.txt", as_text(explanation, f"{name}.log", BOARD))


@pytest.mark.parametrize("name", CASES)
def test_each_case_comes_first_in_its_log(name: str, plans: dict[str, Plan]) -> None:
    case = CASES[name]
    last = told(log_of(name), plans.get(case.plan)).last

    among = last.notes if case.kind == "note" else last.causes
    proof = next(one.proof for one in among if one.case.name == name)
    assert case.kind == "note" or last.causes[0].case.name == name
    assert log_of(name).splitlines()[proof.line - 1].strip().startswith(proof.text.removesuffix("…"))


@pytest.mark.parametrize("name", CASES)
def test_without_its_proof_no_case_holds(name: str, plans: dict[str, Plan]) -> None:
    case = CASES[name]
    signs = case.seen or tuple(one for marks in load_cases().boot_media.values() for one in marks.signs)
    kept = [line for line in log_of(name).splitlines() if not any(re.search(one, bare(line)) for one in signs)]

    assert name not in found(told("\n".join(kept), plans.get(case.plan)))


@pytest.mark.parametrize("name", OTHERS)
def test_good_and_unknown_logs_are_no_guesses(name: str) -> None:
    last = told(log_of(name)).last

    assert (last.stage, last.medium, last.system) == OTHERS[name]
    assert last.causes == ()
    text = as_text(told(log_of(name)), name, BOARD)
    assert ("Nothing is wrong that this program knows." in text) == name.startswith("good")
    unknown = {"unknown-early", "unknown-kernel"}
    assert ("Nothing that this program knows tells why it went no further." in text) == (name in unknown)
    assert ("Nothing in it looks like the serial console of this board" in text) == (name == "unknown-board")


@pytest.mark.parametrize("name", ["good-nand", "good-sd", "good-emmc"])
def test_each_beginning_of_a_good_log_is_free_of_faults(name: str) -> None:
    """But for what says itself that the log may just end there."""
    lines = log_of(name).splitlines()
    for end in range(len(lines)):
        for one in told("\n".join(lines[:end])).last.causes:
            assert "Or the log ends here" in one.means, (end, one.case.name)


# Other words for the same: lines that stand for the proof in the case's log.
OTHER_WORDS = [
    ("env-lost", "Loading Environment from MMC... *** Warning - No MMC card found, using default environment"),
    ("env-lost", "** Unable to read env from ubi:ubootenv **"),
    ("env-lost", '** Cannot find mtd partition "ubi"'),
    ("mmc-not-answering", "MMC: no card present"),
    ("mmc-failed", "mmc write failed"),
    ("mmc-failed", "mmc block read error"),
    ("mmc-failed", "MMC read: dev # 0, block # 131072, count 256 ... 0 blocks read: ERROR"),
    ("ubi-unattachable", "UBI init error 22"),
    ("no-image", "Bad FIT kernel image format! (err=-2)"),
    ("no-image", "Wrong Image Format for bootm command"),
    ("tftp-no-file", "TFTP error: 'Access violation' (2)"),
    ("tftp-loop", "Retry count exceeded; starting again"),
    ("tftp-loop", "Loading: *\x08T T T T T T"),
    ("u-boot-crash", '"Error" handler, esr 0xbf000002'),
    ("ram-half", "NOTICE:  DRAM: 4096MB"),
    ("ram-half", "DRAM:  4 GiB"),
    ("ram-double", "NOTICE:  DRAM: 8192MB"),
    ("ram-double", "DRAM:  8 GiB"),
    ("no-device-tree", "ERROR: Did not find a cmdline Flattened Device Tree"),
    ("root-wait-fit", '[    1.400000] VFS: Cannot open root device "/dev/fit0" or unknown-block(0,0): error -6'),
    ("panic-no-init", "[    3.100000] Kernel panic - not syncing: Requested init /bin/none failed (error -2)."),
    ("panic-no-init", "[    3.100000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"),
    ("nvme-failing", "[    9.100000] nvme nvme0: Device not ready; aborting initialisation, CSTS=0x0"),
    ("damaged-filesystem", "[    9.100000] SQUASHFS error: Unable to read page, block 4c1f2, size 8f34"),
    ("damaged-filesystem", "[    9.100000] UBIFS error (ubi0:7 pid 112): ubifs_read_node: bad node type (255)"),
    ("gpt-elsewhere", "[    2.400000] GPT:Primary header thinks Alt. header is not at the end of the disk."),
    ("extroot-unmountable", "[    9.100000] block: extroot: filesystem xfs not supported by kernel"),
    ("extroot-unmountable", "[    9.100000] block: extroot: unsupported filesystem ntfs, try ext4, f2fs or ubifs"),
    ("kernel-and-modules", "[    9.100000] nvme_core: disagrees about version of symbol module_layout"),
    ("kernel-and-modules", "[    9.100000] nvme: version magic '6.12.80 SMP aarch64' should be '6.12.87 SMP aarch64'"),
    ("held-button", "button held, the environment is set back"),
    ("vendor-u-boot", "      3. Upgrade ATF BL2"),
]


@pytest.mark.parametrize(("name", "line"), OTHER_WORDS)
def test_other_words_for_the_same(name: str, line: str, plans: dict[str, Plan]) -> None:
    case = CASES[name]
    lines = log_of(name).splitlines()
    proofs = [number for number, one in enumerate(lines) if any(re.search(sign, bare(one)) for sign in case.seen)]
    rest = [one for number, one in enumerate(lines) if number not in proofs[1:]]
    rest[proofs[0]] = line

    among = told("\n".join(rest), plans.get(case.plan)).last.findings

    assert name in {one.case.name for one in among}


def test_every_pattern_is_in_some_log() -> None:
    """A wording that no test has seen is none that we know."""
    text = [bare(line) for name in NAMES for line in log_of(name).splitlines()]
    text += [bare(line.replace("\x08", "")) for _, line in OTHER_WORDS]
    unseen = {one for one in load_cases().patterns if not any(re.search(one, line) for line in text)}

    assert unseen == {
        "^## Transferring control to Linux",  # by the bench's U-Boot: see tests/board/test_bootlog.py
        "^procd: - init complete -",
        r"BusyBox v1[.\d]+ \(.{1,60}\) built-in shell",
    }


@pytest.mark.parametrize(
    "line", ["[   21.300000] procd: - init complete -", "BusyBox v1.37.0 (2026-06-27 20:12:36 UTC) built-in shell"]
)
def test_other_signs_of_a_system_that_is_up(line: str) -> None:
    lines = log_of("good-nand").splitlines()[:-1]
    assert told("\n".join(lines)).last.stage == "userland"

    assert told("\n".join([*lines, line])).last.stage == "up"


def test_the_last_of_several_starts_counts() -> None:
    explanation = told(log_of("three-starts"))

    assert (explanation.starts, explanation.last.stage) == (3, "bl31")
    assert explanation.before is not None
    assert explanation.before.stage == "up"


def test_a_panic_before_explains_the_recovery_system() -> None:
    explanation = told(log_of("panic-then-recovery"))

    assert found(explanation) == ["recovery-asked"]
    assert "The start before that (line 1): the kernel panicked [panic]" in as_text(explanation, "x", BOARD)


def test_what_stands_before_the_first_sign_of_a_start_is_another_start() -> None:
    log = "[    6.180000] Kernel panic - not syncing: Oops: Fatal exception\n" + log_of("good-nand")

    explanation = told(log)

    assert (explanation.starts, found(explanation)) == (2, [])
    assert explanation.before is not None
    assert explanation.before.causes[0].case.name == "panic"


@pytest.mark.parametrize(
    "stamp",
    ["[2026-06-27 20:12:36.123] ", "2026-06-27T20:12:36.123456Z ", "[20:12:36.123] ", "20:12:36> ", "Jun 27 20:12:36 "],
)
@pytest.mark.parametrize("name", ["fit-config", "root-wait-nvme", "system-halt-emmc", "extroot-no-disk", "good-sd"])
def test_stamps_of_terminal_programs_change_nothing(name: str, stamp: str) -> None:
    log = log_of(name)
    stamped = "".join(f"{stamp}{line}\n" for line in log.splitlines())

    assert found(told(stamped)) == found(told(log))
    assert told(stamped).last.stage == told(log).last.stage


@pytest.mark.parametrize("name", ["fit-config", "root-wait-nvme", "system-halt-emmc", "extroot-no-disk", "good-sd"])
@pytest.mark.parametrize(
    "dressed",
    [
        lambda log: log.replace("\n", "\r\n"),
        lambda log: log.replace("\n", "\r\r\n"),
        lambda log: log.replace("\n", "\r"),
        lambda log: log.replace("\n", "\x1b[K\x1b[0m\n\x1b[32m"),
        lambda log: "\ufeff" + log.replace(" ", "\x00 "),
        lambda log: "".join(f"    {line}\n" for line in log.splitlines()),
        lambda log: "".join(f"> {line}\n" for line in log.splitlines()),
    ],
)
def test_line_ends_colours_and_blanks_change_nothing(name: str, dressed: Callable[[str], str]) -> None:
    assert found(told(dressed(log_of(name)))) == found(told(log_of(name)))


def test_a_log_in_utf_16_is_read() -> None:
    """Windows' own shell writes such files."""
    log = told(log_of("system-halt-sd").encode("utf-16"))

    assert (found(log), log.last.medium) == (["system-halt-sd"], "sd")


def test_logread_has_the_kernels_lines(root: Path) -> None:
    lines = [line for line in log_of("extroot-no-disk").splitlines() if line.startswith("[")]
    log = "".join(f"Sun Jul 24 13:14:06 2022 user.err kernel: {line}\n" for line in lines)

    assert found(told(log)) == ["extroot-no-disk"]


def test_the_menu_is_no_new_start() -> None:
    """It shows U-Boot's version in its title, again at each key."""
    title = "\x1b[2J\x1b[1;1H        ( ( ( OpenWrt ) ) )  \x1b[33m[SPI-NAND]\x1b[0m       U-Boot 2025.10-OpenWrt-r32463"
    log = log_of("good-nand").replace("  Press UP/DOWN", f"{title}\n" * 30 + "  Press UP/DOWN")

    assert (told(log).starts, found(told(log))) == (1, [])


def test_the_steps_are_those_of_the_plans_card(plan_with: PlanWith) -> None:
    plan = the_plan(plan_with(""))
    card = {one.name: one.steps for one in failures(plan, BOARD)}

    for name, case in CASES.items():
        assert case.failure is None or case.failure in card or case.failure_with == "slots", name
    finding = told(log_of("root-wait-no-ubiblock"), plan).last.causes[0]
    assert finding.steps == card["Bad environment"]
    other = told(log_of("fip-damaged"), plan).last.causes[0]
    assert other.steps != card["Bad FIP"], "the card is about the plan's medium, this log about the eMMC"


def test_the_plans_files_are_in_the_steps(plan_with: PlanWith) -> None:
    digest = "0" * 64
    recovery = f"{{file: openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb, sha256: '{digest}'}}"
    plan = the_plan(plan_with(f"recovery: {{image: {recovery}, server: 192.168.1.7}}\n"))

    text = as_text(told(log_of("tftp-no-file"), plan), "x", BOARD)

    assert "192.168.1.7" in text
    assert "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-initramfs-recovery.itb" in text


def test_lines_to_type_know_their_place() -> None:
    steps = told(log_of("recovery-asked")).last.causes[0].steps

    assert {"linux", "hand"} == {one.where for one in steps}
    assert [one.text for one in steps if one.where == "linux"][1] == "rm /sys/fs/pstore/*"
    assert all(one.where != "hand" or not one.text.startswith(("#", "$", "U-Boot>")) for one in steps)


WRITES = ("fit-hash", "no-image", "no-volume", "recovery-instead", "tftp-loop", "upgrade-refused")


@pytest.mark.parametrize("name", WRITES)
def test_who_is_told_sysupgrade_is_told_what_it_costs(name: str) -> None:
    steps = [one.text for one in told(log_of(name)).last.causes[0].steps]

    at = steps.index(next(one for one in steps if one.startswith("sysupgrade -n ")))
    assert any("loses the settings" in one or "put back by hand what you need" in one for one in steps[:at])
    assert any("two slots" in one for one in steps[:at])
    if name != "upgrade-refused":
        assert "ubinfo -a" in steps[:at] and "only when that lists the volume fip" in steps[at - 1]
    assert "stay if you do not" not in " ".join(steps)


@pytest.mark.parametrize("name", [*WRITES, "tftp-no-file"])
def test_with_slots_no_slot_is_replaced_at_once(name: str) -> None:
    plan = plan_of(text_of("nand", "extroot-overlay", "own", files=False))

    steps = [one.text for one in told(log_of(name), plan).last.causes[0].steps]

    writes = [place for place, one in enumerate(steps) if one.startswith("sysupgrade -n")]
    other = [
        place for place, one in enumerate(steps) if "bp_use_" in one or "'Bad slot'" in one or "r4.sh upgrade" in one
    ]
    assert other and all(other[0] < place for place in writes)


@pytest.mark.parametrize("name", ["tftp-loop", "tftp-no-file"])
@pytest.mark.parametrize("plan", [None, "nand", "emmc"])
def test_the_loop_is_stopped_before_a_server_answers(name: str, plan: str | None) -> None:
    """In it U-Boot writes what it gets."""
    the_plan = None if plan is None else plan_of(text_of(plan, "internal", files=False))

    steps = [one.text for one in told(log_of(name), the_plan).last.causes[0].steps]

    serves = next(
        place for place, one in enumerate(steps) if "server's folder" in one or "let its" in one or "dnsmasq" in one
    )
    assert "Ctrl-C" in steps[0] and steps.index("setenv replacevol") < serves


@pytest.mark.parametrize("name", ["root-wait-partuuid", "panic-no-root"])
def test_a_router_that_waits_for_its_root_is_not_told_to_log_in(name: str) -> None:
    """Without root= in its plan something else is wrong than a disk that is gone."""
    medium = told(log_of(name)).last.medium or "nand"
    for method in ("extroot-overlay", "internal", "cmdline"):
        plan = plan_of(text_of(medium, method, files=False))

        (finding,) = (one for one in told(log_of(name), plan).last.causes if one.case.name == name)

        steps = [one.text for one in finding.steps]
        assert ("sh r4.sh status" in steps) == (method == "cmdline")
        assert "env default bootargs" in steps or method == "cmdline"


@pytest.mark.parametrize("medium", ["emmc", "sd"])
def test_an_empty_flash_is_no_fault_of_another_medium(medium: str) -> None:
    lines = log_of(f"good-{medium}").splitlines()
    at = next(place for place, one in enumerate(lines) if one.startswith("Loading Environment"))

    last = told("\n".join([*lines[: at + 1], "UBI init error 22", *lines[at + 1 :]])).last

    assert last.causes == () and last.notes[0].case.name == "ubi-elsewhere"


def test_a_flag_is_deleted_only_where_the_environment_is_good() -> None:
    steps = [one.text for one in told(log_of("recovery-asked")).last.causes[0].steps]

    at = next(place for place, one in enumerate(steps) if "fw_setenv" in one)
    assert "Bad CRC" in steps[at - 1] and steps[at].startswith("fw_printenv bootcmd | grep 'pstore check' && ")


@pytest.mark.parametrize("first", ["EC: 0000 0000 [1000]", "BP: 2400 0041 [0000]"])
def test_a_log_that_begins_within_the_boot_rom_is_one_start(first: str) -> None:
    log = log_of("good-nand")
    rest = log[log.index("NOTICE:  BL2") :]

    assert told(f"{first}\n{rest}").starts == 1


def test_lines_are_counted_with_the_empty_ones() -> None:
    assert told("a\n\n\x00\nb\n\n").lines == 5
    last = told("a\n" * 7).last.last
    assert (last.line, last.text) == (7, "a")


@pytest.mark.parametrize("name", CASES)
def test_each_case_names_its_source_and_its_stage(name: str) -> None:
    case = CASES[name]

    assert re.search(r"\d|U-Boot|Linux|TF-A|fstools|openwrt|bench", case.source)
    load_cases().place(case.stage)
    assert case.unless_reached is None or load_cases().place(case.unless_reached) > load_cases().place(case.stage) - 1
    assert set(case.unless_case) <= set(list(CASES)[: list(CASES).index(name)]), "judged before this one"
    assert case.seen or case.plan == "other-medium"
    assert case.do
    assert not case.means.startswith(" ")


def test_the_readme_counts_right(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    unproven = sum(not case.proven for case in CASES.values())

    assert f"`schemas/bootlog.yaml`: {len(CASES)} cases," in text
    assert f"{unproven} of its {len(CASES)} cases" in text


def test_the_name_of_a_case_is_no_other_case() -> None:
    names = [case.name for case in load_cases().cases]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^BL2: Failed to load image id \d", "BL2: Failed to load image id "),
        (r"a(?:b|c)defg", "defg"),
        (r"ab*cde", "cde"),
        (r"ab+cde", "cde"),
        (r"\[SPI-NAND\]", "[SPI-NAND]"),
        (r"abc\d{2}d", "abc"),
        (r"[abc]de(f(g)h)ij", "de"),
        (r"one|another", ""),
    ],
)
def test_the_plain_text_of_a_pattern(pattern: str, text: str) -> None:
    assert plain_text(pattern) == text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("seen: ['^System halt!(']", "no regular expression"),
        (r"seen: ['^\d+$']", "a pattern needs plain text"),
        ("do: ['SW3 to {sdd}']", "no value 'sdd'"),
        ("kind: guess", "'guess' is not a choice here"),
    ],
)
def test_a_wrong_case_is_told_with_its_place(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, message: str
) -> None:
    text = (root / "schemas/bootlog.yaml").read_text(encoding="utf-8")
    begin = text.index("  - name: system-halt\n")
    key = wrong.partition(":")[0]
    line = text.index(f"    {key}:", begin)
    end = text.index("\n    ", text.index("\n", line) - 1 if key != "do" else text.index("    source", line) - 2)
    (tmp_path / "bootlog.yaml").write_text(f"{text[:line]}    {wrong}{text[end:]}", encoding="utf-8")
    monkeypatch.setattr("bootplan.logcases.SCHEMAS", tmp_path)

    with pytest.raises(WrongCases) as caught:
        load_cases.__wrapped__()

    place = text[:line].count("\n") + 1
    assert f"bootlog.yaml:{place}:" in str(caught.value)
    assert message in str(caught.value)


def test_the_models_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match="extra"):
        Case.model_validate({"name": "x", "guess": True})
