"""Diagnostics: their order, their suggestions, and pydantic's errors in our words."""

from collections.abc import Callable

import pytest
from pydantic import BaseModel

from bootplan.compiler import check
from bootplan.diagnostics import Diagnostic, Severity, Span, in_order, nearest
from bootplan.document import parse
from bootplan.plan import Plan
from bootplan.shape import read

PlanWith = Callable[[str], str]


def said(text: str, model: type[BaseModel] = Plan) -> list[tuple[str, str | None]]:
    """Message and hint of everything wrong with the shape of *text*."""
    return [(one.message, one.hint) for one in read(model, parse(text, "plan.yaml"))[1]]


def _diagnostic(line: int, code: str) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, "", None, (), Span(line, 1, line, 1))


def test_diagnostics_come_in_the_order_of_the_text() -> None:
    found = [_diagnostic(9, "BP001"), _diagnostic(2, "BP309"), _diagnostic(2, "BP002")]

    assert [(one.span.line, one.code) for one in in_order(found)] == [(2, "BP002"), (2, "BP309"), (9, "BP001")]


def test_what_an_alias_repeats_is_told_once(plan_with: PlanWith) -> None:
    text = plan_with("media:\n  a: &a {type: nvme, serial: A1, zork: 1}\n  b: *a\n")

    assert [one.message for one in check(text, "plan.yaml").diagnostics].count("unknown key 'zork'") == 1


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("nandd", "nand"),
        ("emcm", "emmc"),
        ("EMMC", "emmc"),
        ("Nandd", "nand"),
        ("flash", None),
        ("", None),
        ("n" * 10_000, None),
    ],
)
def test_a_slip_is_recognised(word: str, suggestion: str | None) -> None:
    assert nearest(word, ["nand", "emmc", "sd"]) == suggestion


LONG = "x" * 5000
CARD = "openwrt-25.12.5-mediatek-filogic-bananapi_bpi-r4-sdcard.img.gz"


@pytest.mark.parametrize(
    "fragment",
    [
        f"name: {LONG}\n",
        f"a: *{LONG}\n",
        f"a: &{LONG} [*{LONG}]\n",
        f"a: !{LONG} b\n",
        f"? {LONG}\n: 1\n? {LONG}\n: 2\n",
        f"? {'1' * 17}.{'1' * 5000}\n: 1\n",
        f"boot:\n  ? {LONG}\n  : 1\n",
        f"boot: {{medium: {LONG}}}\n",
        f"boot: {{medium: nand, switch: 1.{'1' * 5000}}}\n",
        f"version: 1.{'1' * 5000}\n",
        "version: 1.0e300\n",
        f"packages: {LONG}\n",
        f"packages: [{LONG}]\n",
        f"packages: [{', '.join(f'package-{number}' for number in range(500))}]\n",
        f"board: {{model: {LONG}}}\nfallback: {{medium: sd, image: {{file: {CARD}, sha256: '{'0' * 64}'}}}}\n",
        f"root: {{method: extroot-overlay, partition: {LONG}}}\n",
        f"slots: {{a: {{root: {LONG}}}, b: {{root: {LONG}}}}}\n",
        f"fallback: {{medium: sd, max_age: {LONG}}}\n",
        f"slots: {{confirm: {{within: {LONG}}}}}\n",
        "root: {method: extroot-overlay, partition: other}\nmedia: {ssd: {type: nvme, serial: A1, partitions: ["
        + ", ".join(f"{{name: partition-{number}, size: 1GiB, filesystem: ext4}}" for number in range(500))
        + "]}}\n",
    ],
    ids=lambda fragment: fragment[:40],
)
def test_no_message_repeats_a_long_text(plan_with: PlanWith, fragment: str) -> None:
    for one in check(plan_with(fragment), "plan.yaml").diagnostics:
        for text in (one.message, one.hint or "", *(other.message for other in one.related)):
            assert len(text) < 400


def test_a_text_that_is_cut_says_so(plan_with: PlanWith) -> None:
    assert said(plan_with(f"boot: {{medium: {LONG}}}\n"))[0][0] == f"'{'x' * 59}…' is not a choice here"
    assert said(plan_with(f"boot: {{medium: {'x' * 60}}}\n"))[0][0] == f"'{'x' * 60}' is not a choice here"


@pytest.mark.parametrize(
    ("fragment", "message", "hint"),
    [
        ("boot: {medium: nand, swich: '01'}\n", "unknown key 'swich'", "did you mean 'switch'?"),
        ("boot: {medium: nand, x: y}\n", "unknown key 'x'", "known here: medium, switch"),
        ("boot: {medium: nandd}\n", "'nandd' is not a choice here", "did you mean 'nand'?"),
        ("boot: {medium: flash}\n", "'flash' is not a choice here", "write nand, emmc or sd"),
        ("firmware: {release: 24.10}\n", "24.10 is a number, and 'release' is text", 'write it in quotes: "24.10"'),
        ("firmware: {release: 3}\n", "'release' cannot be 3", "write '24.10', '25.12' or 'snapshot'"),
        ("boot:\n", "'boot' has no value; it must be a mapping", None),
        ("name: 12\n", "'name' must be text, not a number", 'write it in quotes: "12"'),
        ("packages: tcpdump\n", "'packages' must be a list, not text", "write [tcpdump]"),
        ("packages: [1]\n", "this must be text, not a number", 'write it in quotes: "1"'),
        ("media: {a: {type: ssd}}\n", "'ssd' is not a choice here", "did you mean 'nvme'?"),
        ("media: {a: {type: M.2}}\n", "'M.2' is not a choice here", "did you mean 'nvme'?"),
        ("media: {a: {type: sdcard}}\n", "'sdcard' is not a choice here", "did you mean 'sd'?"),
        ("media: {a: {type: mmc}}\n", "'mmc' is not a choice here", "did you mean 'emmc'?"),
        ("boot: {medium: SPI-NAND}\n", "'SPI-NAND' is not a choice here", "did you mean 'nand'?"),
        ("boot: {medium: microSD}\n", "'microSD' is not a choice here", "did you mean 'sd'?"),
        (
            "boot: {medium: nvme}\n",
            "'nvme' is not a choice here",
            "write nand, emmc or sd; the boot ROM and U-Boot see no NVMe disk",
        ),
        ("root: {method: extroot}\n", "'extroot' is not a choice here", "did you mean 'extroot-overlay'?"),
        ("root: {method: overlay}\n", "'overlay' is not a choice here", "did you mean 'extroot-overlay'?"),
        ("root: {method: pivot}\n", "'pivot' is not a choice here", "did you mean 'extroot-pivot'?"),
        ("root: {method: Pivot-Root}\n", "'Pivot-Root' is not a choice here", "did you mean 'extroot-pivot'?"),
        ("root: {method: 'root='}\n", "'root=' is not a choice here", "did you mean 'cmdline'?"),
        ("firmware: {release: '25.12', kernel: nvme}\n", "'nvme' is not a choice here", "did you mean 'nvme-builtin'?"),
        ("firmware: {release: 'main'}\n", "'main' is not a choice here", "did you mean 'snapshot'?"),
        ("firmware: {release: '25.12.5'}\n", "'25.12.5' is not a choice here", "did you mean '25.12'?"),
        ("media: {}\n", "'media' is empty; describe at least one", None),
        ("media: {a: {type: nvm}}\n", "'nvm' is not a choice here", "did you mean 'nvme'?"),
        ("media: {a: {type: }}\n", "'type' has no value", "write 'nvme', 'emmc', 'sd' or 'nand'"),
        ("media: {a: {type: [nvme]}}\n", "'type' cannot be [nvme]", "write 'nvme', 'emmc', 'sd' or 'nand'"),
        ("media: {a: {type: true}}\n", "'type' cannot be true", "write 'nvme', 'emmc', 'sd' or 'nand'"),
        (
            "media: {a: {type: sd, capacity: true}}\n",
            "a size is text with a unit, not a truth value",
            "write it like 8GiB",
        ),
        ("media: {a: {type: sd, capacity: [8]}}\n", "a size is text with a unit, not a list", "write it like 8GiB"),
        ("boot: {medium: }\n", "'medium' has no value", "write 'nand', 'emmc' or 'sd'"),
        ("version: 1.0\n", "'version' must be a whole number, not 1.0", "write 1"),
        ("version: 1.5\n", "'version' must be a whole number, not 1.5", None),
        ("version: '1'\n", "'version' must be a whole number, not text", "write it without quotes"),
        ("version: one\n", "'version' must be a whole number, not text", None),
        ("media: {a: {serial: A1}}\n", "'type' is missing", "write nvme, emmc, sd or nand"),
        (
            "media: {a: {type: nvme, device: /dev/nvme0n1}}\n",
            "unknown key 'device'",
            "a disk is chosen by `serial`; /dev/nvme0n1 is not fixed",
        ),
        (
            "media: {a: {type: nvme, partitions: [{name: b, size: rest, filesystem: ext4, label: c}]}}\n",
            "unknown key 'label'",
            "write `name`; it is also the label of the file system",
        ),
    ],
)
def test_a_wrong_shape_is_told_in_our_words(plan_with: PlanWith, fragment: str, message: str, hint: str | None) -> None:
    assert said(plan_with(fragment)) == [(message, hint)]


@pytest.mark.parametrize("kind", ["", "type: ssd, ", "type: serial, ", "type: , "])
def test_a_medium_without_its_type_tells_its_unknown_keys(plan_with: PlanWith, kind: str) -> None:
    text = plan_with(
        f"media: {{a: {{{kind}serail: A1, serial: 5, partitions: [{{name: b, size: 8G, filesytem: ext4}}]}}}}\n"
    )

    told = [(one[0], one[1]) for one in said(text)]

    assert ("unknown key 'serail'", "did you mean 'serial'?") in told
    assert ("unknown key 'filesytem'", "did you mean 'filesystem'?") in told
    assert any("size '8G' has no unit we know" in message for message, _ in told)
    assert any("'serial' must be text" in message for message, _ in told)
    assert any("'type'" in message or "not a choice" in message for message, _ in told)


def test_a_missing_key_is_explained(plan_with: PlanWith) -> None:
    assert said(plan_with("boot: {}\n")) == [
        ("'medium' is missing", "The medium that holds BL2, FIP and the kernel; switch SW3 selects it.")
    ]


def test_the_union_tag_is_not_part_of_a_path(plan_with: PlanWith) -> None:
    text = plan_with("media: {ssd: {type: nvme, partitions: [{name: a, size: 8G, filesystem: ext4}]}}\n")

    _, (only,) = read(Plan, parse(text, "plan.yaml"))

    assert only.path == ("media", "ssd", "partitions", 0, "size")


@pytest.mark.parametrize(
    ("media", "key"),
    [
        ("{ssd: {type: nvme, nvme: 1}}", ("media", "ssd", "nvme")),
        ("{nvme: {type: nvme, x: 1}}", ("media", "nvme", "x")),
        ("{ssd: {type: nvme, '[key]': 1}}", ("media", "ssd", "[key]")),
    ],
)
def test_a_key_called_like_a_word_of_pydantic_is_unknown(plan_with: PlanWith, media: str, key: tuple[str, ...]) -> None:
    _, (only,) = read(Plan, parse(plan_with(f"media: {media}\n"), "plan.yaml"))

    assert (only.code, only.path) == ("BP002", key)


def test_such_a_key_may_stand_anywhere(plan_with: PlanWith) -> None:
    assert said(plan_with("'[key]': 2\n"))[0][0] == "unknown key '[key]'"
    assert said(plan_with("media: {'[key]': {type: sd}}\n"))[0][0] == "'[key]' cannot name a medium"


def test_an_error_we_have_no_words_for_keeps_those_of_pydantic() -> None:
    class Odd(BaseModel):
        number: int

    assert said("number: x\n", Odd) == [("input should be a valid integer, unable to parse string as an integer", None)]
