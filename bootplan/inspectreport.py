"""What was found in a file, as text for people and as JSON for programs."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bootplan.images import KIND_TITLES
from bootplan.inspection import Content
from bootplan.report import visible
from bootplan.verdict import Verdict

_MOST_SHOWN = 40
_FORMATS = {"fit": "a FIT", "gzip": "a gzip stream", "bl2": "a BL2", "fip": "a FIP"}


def as_text(content: Content, verdict: Verdict, name: str, plan: str) -> str:
    """All of it, one fact a line."""
    what = (
        KIND_TITLES[content.kind] if content.kind is not None else _FORMATS.get(content.format or "", "an unknown file")
    )
    lines = [f"{name}: {what}, {content.size} bytes", f"  sha256         {content.sha256}"]
    lines += [f"  {label:<14} {visible(text)}" for label, text in _facts(content)]
    if verdict.planned:
        lines.append(f"  {'fits' if verdict.good else 'does not fit'} {plan}")
    elif verdict.good:
        lines.append("  it is whole")
    lines += [f"    - {visible(text)}" for text in verdict.against]
    lines += [f"    note: {visible(text)}" for text in verdict.notes]
    return "\n".join(lines) + "\n"


def as_json(content: Content, verdict: Verdict, name: str, plan: str) -> dict[str, Any]:
    """All of it as one object; what does not apply is null."""
    told = asdict(content)
    system = told["system"]
    if system is not None:
        system["provided"] = sorted(system["provided"])
        system["packages"] = None if system["packages"] is None else sorted(system["packages"])
    judged = {"against": verdict.against, "notes": verdict.notes, "good": verdict.good}
    return {"file": name, **told, "release": content.release or None, "plan": plan or None, **judged}


def _facts(content: Content) -> Iterator[tuple[str, str]]:
    if content.medium is not None:
        yield "boot ROM", f"a header for the medium {content.medium}"
    if content.fip is not None:
        yield "parts", ", ".join(f"{name} ({size} bytes)" for name, size in content.fip.parts.items())
    if content.card is not None:
        yield "partitions", ", ".join(part.name for part in content.card.parts[:_MOST_SHOWN])
    if content.fit is not None:
        yield "FIT", content.fit.description
        for image in content.fit.images:
            sums = (
                ", ".join(f"{kind} {'right' if right else 'WRONG'}" for kind, right in image.sums.items()) or "no sum"
            )
            yield "part", f"{image.name}: {image.type}, {image.size} bytes, {sums}"
        for name in content.fit.configurations:
            yield "configuration", name + (" (default)" if name == content.fit.default else "")
    if content.metadata is not None:
        data = content.metadata
        yield "metadata", f"OpenWrt {data.release or '?'} {data.revision}, {data.target or 'no target'}"
        yield "for boards", ", ".join(data.devices) or "none"
        yield "settings", f"compat_version {data.compat}" + (f": {data.message}" if data.message else "")
    if content.system is not None:
        system = content.system
        packages = "?" if system.packages is None else len(system.packages)
        modules = f"modules for {', '.join(system.kernels) or 'no kernel'}"
        yield "system", f"OpenWrt {system.release or '?'}, {system.target or '?'}, {packages} packages, {modules}"
