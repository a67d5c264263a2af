"""The recovery card in a real browser: one printed page, readable on a telephone and in the dark, and no network.

Chromium of Debian, without a window; what it measures is said by a page of our own that has the card in a frame.
"""

import html
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from card_plans import plan_of, text_of

from bootplan.board import load_board
from bootplan.card import recovery_card, recovery_card_html

from .cache import command
from .debian import install
from .running import match_in

Chromium = Callable[..., str]
"""What the fixture ``chromium`` gives."""

PACKAGES = ["chromium", "poppler-utils", "fonts-dejavu-core"]
SECONDS = 120
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-pdf-header-footer",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
A4 = (595, 842)
LONGEST: dict[str, Any] = {
    "name": "'" + "Wide Words " * 5 + "here'",
    "serial": "WWWWWWWWWWWWWWWWWWWW",
    "model": "bpi-r4-poe",
}
FRAME = '<iframe style="border:0;width:%dpx;height:800px" srcdoc="%s"></iframe>'
MEASURE = """
<body>%s<pre id="told"></pre>
<script>
function outside(svg) {
  const boxes = [...svg.querySelectorAll("rect")].map(box => box.getBoundingClientRect());
  const inside = (one, box) => box.left <= one.left + 1 && one.right <= box.right + 1 &&
    box.top <= one.top + 2 && one.bottom <= box.bottom + 2;
  return [...svg.querySelectorAll("text")].filter(text =>
    !boxes.some(box => inside(text.getBoundingClientRect(), box))).map(text => text.textContent);
}
function measure(frame) {
  const card = frame.contentDocument, view = frame.contentWindow, colours = {};
  for (const name of ["paper", "ink", "soft", "accent", "alarm", "type"]) {
    const ruler = card.body.appendChild(card.createElement("i"));
    ruler.style.color = `var(--${name})`;
    colours[name] = view.getComputedStyle(ruler).color;
    ruler.remove();
  }
  const pictures = [...card.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width);
  const texts = [...card.querySelectorAll("body *")].filter(one => !one.closest("svg") && one.textContent.trim());
  return {...colours, width: card.documentElement.scrollWidth, inner: view.innerWidth, pictures: pictures.length,
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches, outside: pictures.flatMap(outside),
    smallest: Math.min(...texts.map(one => parseFloat(view.getComputedStyle(one).fontSize)))};
}
window.onload = () => { document.getElementById("told").textContent =
  JSON.stringify([...document.querySelectorAll("iframe")].map(measure)); };
</script>
"""


@pytest.fixture(scope="module", autouse=True)
def browser() -> None:
    """Have Chromium and the tools for PDF files."""
    install(PACKAGES)


@pytest.fixture
def chromium(tmp_path: Path) -> Chromium:
    """Return a function that runs Chromium with more options on a file, and returns its standard output."""

    def run(page: Path, *more: str) -> str:
        words = ["chromium", *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *more, page.as_uri()]
        done = subprocess.run(
            words, capture_output=True, check=False, timeout=SECONDS, env={**os.environ, "HOME": str(tmp_path)}
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        return done.stdout.decode()

    return run


def card_of(text: str) -> str:
    """Return the page of a plan's text."""
    return recovery_card_html(plan_of(text), load_board())


def longest() -> Iterator[str]:
    """Return the plans whose cards are the longest: every file, slots, 8 GiB, and names as wide as can be."""
    yield text_of("nand", "cmdline", "own", **LONGEST)
    yield text_of("emmc", "cmdline", "own", **LONGEST)
    yield text_of("sd", "cmdline", "shared", **LONGEST)
    yield text_of("nand", "extroot-overlay", "own", **LONGEST)


def pages(chromium: Chromium, tmp_path: Path, text: str) -> tuple[int, tuple[int, int]]:
    """Print a card and return how many pages it has, and their size in points."""
    (tmp_path / "card.html").write_text(card_of(text), encoding="utf-8")
    chromium(tmp_path / "card.html", f"--print-to-pdf={tmp_path / 'card.pdf'}")
    told = command(["pdfinfo", tmp_path / "card.pdf"])
    size = match_in(r"Page size: +([\d.]+) x ([\d.]+) pts", told)
    return int(match_in(r"Pages: +(\d+)", told)[1]), (round(float(size[1])), round(float(size[2])))


@pytest.mark.parametrize("text", [*longest()], ids=["nand", "emmc", "sd", "nand-overlay"])
def test_the_longest_cards_are_one_page(chromium: Chromium, tmp_path: Path, text: str) -> None:
    """A4 upright, and nothing of it is lost: the last words of the card are on the page."""
    assert pages(chromium, tmp_path, text) == (1, A4)

    printed = "".join(command(["pdftotext", "-layout", tmp_path / "card.pdf", "-"]).split())
    assert "Wrong BL2".replace(" ", "") in printed and "fallbackcard" in printed


def test_a_page_that_is_too_long_is_seen(chromium: Chromium, tmp_path: Path) -> None:
    """The same look at a card with its failures twice finds two pages."""
    card = card_of(next(longest()))
    begin, end = card.index('<div class="columns">'), card.index('</div>\n<table class="files">')
    (tmp_path / "long.html").write_text(card[:end] + card[begin:end] + card[end:], encoding="utf-8")

    chromium(tmp_path / "long.html", f"--print-to-pdf={tmp_path / 'long.pdf'}")

    assert int(match_in(r"Pages: +(\d+)", command(["pdfinfo", tmp_path / "long.pdf"]))[1]) > 1


def luminance(colour: str) -> float:
    """Return how bright a colour is, as WCAG 2 says."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG 2 says."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read(chromium: Chromium, tmp_path: Path, width: int, dark: bool) -> None:
    """No sideways scrolling, no text beside its box in the picture, and colours with contrast, in both schemes."""
    page = tmp_path / "frames.html"
    frames = "".join(FRAME % (width, html.escape(card_of(text))) for text in longest())
    page.write_text(MEASURE % frames, encoding="utf-8")

    dom = chromium(page, "--dump-dom", f"--blink-settings=preferredColorScheme={0 if dark else 1}")

    measured = json.loads(html.unescape(match_in(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)[1]))
    assert len(measured) == len([*longest()])
    for seen in measured:
        assert (seen["width"], seen["inner"], seen["pictures"], seen["dark"]) == (width, width, 1, dark)
        assert seen["outside"] == []
        assert seen["smallest"] > 10
        assert (luminance(seen["paper"]) < 0.2) == dark
        for paper, ink, least in (
            ("paper", "ink", 10),
            ("type", "ink", 10),
            ("paper", "soft", 4.5),
            ("paper", "accent", 4.5),
            ("paper", "alarm", 4.5),
        ):
            assert contrast(seen[paper], seen[ink]) > least, ink


def requests(log: Path) -> set[str]:
    """Return the addresses that a page asked for, from Chromium's own log of the network.

    What Chromium asks for by itself, as for the time of day, has no origin.
    """
    events = json.loads(log.read_text())
    kind = events["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [event.get("params", {}) for event in events["events"] if event["type"] == kind]
    return {one["url"] for one in asked if "url" in one and one.get("initiator") != "not an origin"}


def test_it_asks_the_network_for_nothing(chromium: Chromium, tmp_path: Path) -> None:
    """Chromium's own log has no request; with a picture from elsewhere and without the policy it has one."""
    card = card_of(next(longest()))
    (tmp_path / "card.html").write_text(card, encoding="utf-8")
    other = card.replace('<meta http-equiv="Content-Security-Policy"', '<meta name="none"')
    other = other.replace("</body>", '<img src="http://192.0.2.1/x.png"></body>')
    (tmp_path / "other.html").write_text(other, encoding="utf-8")
    seen = {}
    for name in ("card", "other"):
        chromium(
            tmp_path / f"{name}.html",
            "--timeout=4000",
            f"--log-net-log={tmp_path / name}.json",
            f"--screenshot={tmp_path / name}.png",
        )
        seen[name] = requests(tmp_path / f"{name}.json")

    assert (tmp_path / "card.png").stat().st_size > 10_000
    assert seen == {"card": set(), "other": {"http://192.0.2.1/x.png"}}


@pytest.mark.parametrize(
    ("letters", "medium", "method", "slots", "files"),
    [
        ("large", "nand", "cmdline", "", False),
        ("large", "emmc", "internal", "", False),
        ("large", "sd", "extroot-pivot", "", True),
        ("small", "nand", "extroot-pivot", "", True),
        ("middle", "nand", "cmdline", "own", False),
        ("middle", "sd", "cmdline", "own", False),
        ("small", "nand", "cmdline", "", True),
        ("small", "emmc", "cmdline", "", True),
    ],
)
def test_the_longest_cards_in_larger_letters_are_one_page(
    chromium: Chromium, tmp_path: Path, letters: str, medium: str, method: str, slots: str, files: bool
) -> None:
    """Those that just do not need smaller ones."""
    text = text_of(medium, method, slots, files=files, **LONGEST)
    assert recovery_card(plan_of(text), load_board()).letters == letters

    assert pages(chromium, tmp_path, text) == (1, A4)
