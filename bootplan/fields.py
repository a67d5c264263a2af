"""What one value of a plan may look like: text that matches a form, sizes in bytes, seconds in a range.

Each type refuses with its own code and names the remedy; the schema for editors gets the same forms.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from bootplan.diagnostics import kind_of, short
from bootplan.units import BINARY_UNITS, parse_capacity, parse_duration, parse_size, show_duration, show_size

_RAM_BYTES = (4 * BINARY_UNITS["GiB"], 8 * BINARY_UNITS["GiB"])


def wrong(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """An error of pydantic that carries our code, sentence and hint unchanged."""
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


def _matches(code: str, pattern: str, message: str, hint: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Accept text that *pattern* matches as a whole, and say so in the schema; `{}` in *message* is the text."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise wrong(code, message.format(short(text, 80)), hint)
        return text

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


def _measured(parse: Callable[[str], int], rest: bool = False) -> BeforeValidator:
    """Turn a written size into bytes; with *rest*, the word `rest` into None."""

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise wrong("BP005", f"a size is text with a unit, not {kind_of(value)}", "write it like 8GiB")
        if rest and value == "rest":
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise wrong("BP101", str(error)) from None

    return BeforeValidator(check)


def _lasting(smallest: int, largest: int, pattern: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """Turn a written duration into seconds, at least *smallest* and at most *largest*; *pattern* is for the schema."""

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise wrong("BP005", f"a duration is text with a unit, not {kind_of(value)}", "write it like 10min or 90s")
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise wrong("BP112", str(error)) from None
        if not smallest <= seconds <= largest:
            limits = f"{show_duration(smallest)} to {show_duration(largest)}"
            raise wrong("BP112", f"{short(value)} is out of range; write {limits}")
        return seconds

    return BeforeValidator(check), WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


def _seconds(smallest: int, largest: int) -> tuple[AfterValidator, WithJsonSchema]:
    """Accept whole seconds in a range, and say so in the schema."""

    def check(value: int) -> int:
        if not smallest <= value <= largest:
            raise wrong("BP110", f"{value} seconds is out of range; write {smallest} to {largest}")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "integer", "minimum": smallest, "maximum": largest})


def _days(smallest: int, largest: int, pattern: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """Turn whole days with their unit, like 180d, into a number in a range; *pattern* is for the schema."""

    def check(value: Any) -> int:
        match = re.fullmatch("0*([0-9]{1,6}) ?d", value) if isinstance(value, str) else None
        if match is None or not smallest <= int(match[1]) <= largest:
            raise wrong(
                "BP117", f"{short(repr(value))} is not a number of days", f"write {smallest}d to {largest}d, like 180d"
            )
        return int(match[1])

    return BeforeValidator(check), WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


def _times(smallest: int, largest: int) -> tuple[AfterValidator, WithJsonSchema]:
    """Accept a whole number in a range, and say so in the schema."""

    def check(value: int) -> int:
        if not smallest <= value <= largest:
            raise wrong("BP113", f"{value} times is out of range; write {smallest} to {largest}")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "integer", "minimum": smallest, "maximum": largest})


def _check_version(value: int) -> int:
    if value != 1:
        raise wrong("BP006", f"plans of version {value} are unknown here", "write `version: 1`")
    return value


def _check_ram(value: int) -> int:
    if value not in _RAM_BYTES:
        raise wrong("BP006", f"no BPI-R4 has {show_size(value)} of memory", "write 4GiB or 8GiB")
    return value


def _check_plan_name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 64:
        raise wrong("BP107", "the plan's name must be 1 to 64 printable characters and not blank")
    return text


def _check_serial(text: str) -> str:
    if not (text.isascii() and text.isprintable() and 1 <= len(text) <= 20 and text == text.strip()):
        raise wrong(
            "BP103",
            f"'{short(text)}' is not a disk's serial number",
            "1 to 20 printable ASCII characters, no blank at either end; "
            "on the router: cat /sys/class/nvme/nvme*/serial",
        )
    return text


# A schema knows no sums: these forms let through up to 99,999GiB where the limit is 64TiB.
_BINARY = "0*([1-9][0-9]{0,7} ?MiB|[1-9][0-9]{0,4} ?GiB|([1-9]|[1-5][0-9]|6[0-4]) ?TiB)"
_DECIMAL = "0*([1-9][0-9]{0,10} ?kB|[1-9][0-9]{0,7} ?MB|[1-9][0-9]{0,4} ?GB|[1-9][0-9]? ?TB)"
_SIZE_SCHEMA = {"type": "string", "pattern": f"^{_BINARY}$"}
_RAM_SCHEMA = {"type": "string", "pattern": "^0*([48] ?GiB|(4096|8192) ?MiB)$"}
_CAPACITY_SCHEMA = {"type": "string", "pattern": f"^({_BINARY}|{_DECIMAL})$"}
_PARTITION_SIZE_SCHEMA = {"type": "string", "pattern": f"^(rest|{_BINARY})$"}
_PLAN_NAME_SCHEMA = {"type": "string", "pattern": r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,64}$"}
_SERIAL_SCHEMA = {"type": "string", "pattern": "^[!-~]([ -~]{0,18}[!-~])?$"}
_TO_60_MIN = "0*([3-9][0-9]|[1-9][0-9]{2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600) ?s|0*([1-9]|[1-5][0-9]|60) ?min"
_TO_120_MIN = "0*([3-9][0-9]|[1-9][0-9]{2}|[1-6][0-9]{3}|7[01][0-9]{2}|7200) ?s|0*([1-9][0-9]?|1[01][0-9]|120) ?min"
_TO_3650_DAYS = "0*([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650) ?d"

Size = Annotated[int, _measured(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
Ram = Annotated[Size, AfterValidator(_check_ram), WithJsonSchema(_RAM_SCHEMA)]
Capacity = Annotated[int, _measured(parse_capacity), WithJsonSchema(_CAPACITY_SCHEMA)]
PartitionSize = Annotated[int | None, _measured(parse_size, rest=True), WithJsonSchema(_PARTITION_SIZE_SCHEMA)]
Version = Annotated[int, AfterValidator(_check_version), WithJsonSchema({"const": 1})]
PlanName = Annotated[str, AfterValidator(_check_plan_name), WithJsonSchema(_PLAN_NAME_SCHEMA)]
MediumName = Annotated[
    str,
    *_matches(
        "BP108",
        "[a-z][a-z0-9-]{0,15}",
        "'{}' cannot name a medium",
        "1 to 16 characters: a lower-case letter, then lower-case letters, digits and '-'",
    ),
]
PartitionName = Annotated[
    str,
    *_matches(
        "BP102",
        "[A-Za-z0-9][A-Za-z0-9._-]{0,15}",
        "'{}' cannot name a partition",
        "1 to 16 characters: letters, digits, '.', '_' and '-', the first one a letter or digit",
    ),
]
Serial = Annotated[str, AfterValidator(_check_serial), WithJsonSchema(_SERIAL_SCHEMA)]
PciAddress = Annotated[
    str,
    *_matches(
        "BP104",
        "[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f][.][0-7]",
        "'{}' is not a PCI address",
        "write domain:bus:device.function in lower-case hex, like 0002:01:00.0",
    ),
]
MountPoint = Annotated[
    str,
    *_matches(
        "BP105",
        r"(?=.{2,128}$)(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+-]+)+",
        "'{}' is not a mount point",
        "write an absolute path like /srv/data: at most 128 letters, digits and '._+-', no '..', no '/' at the end",
    ),
]
PackageName = Annotated[
    str,
    *_matches(
        "BP106",
        "[a-z0-9][a-z0-9+._-]{0,63}",
        "'{}' cannot be a package",
        "a package name has lower-case letters, digits and '+._-'; one name per list entry",
    ),
]
KernelArgument = Annotated[
    str,
    *_matches(
        "BP109",
        "[A-Za-z0-9_.,:=/@+-]{1,200}",
        "'{}' cannot be one kernel argument",
        "letters, digits and '_.,:=/@+-', no blanks or quotes; one argument per list entry",
    ),
]
Switch = Annotated[
    str,
    *_matches(
        "BP111",
        "[01]{2}",
        "'{}' is not a position of SW3",
        'write the digits printed at A and B, like "01"; pictures of the lever directions contradict each other',
    ),
]
RootwaitSeconds = Annotated[int, *_seconds(1, 300)]
PanicSeconds = Annotated[int, *_seconds(1, 60)]
WindowSeconds = Annotated[int, *_lasting(30, 60 * 60, _TO_60_MIN)]
DeadmanSeconds = Annotated[int, *_lasting(30, 120 * 60, _TO_120_MIN)]
Times = Annotated[int, *_times(1, 9)]
Days = Annotated[int, *_days(1, 3650, _TO_3650_DAYS)]
Address = Annotated[
    str,
    *_matches(
        "BP118",
        r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}",
        "'{}' is not an IPv4 address",
        "write four numbers from 0 to 255 like 192.168.1.254",
    ),
]
Sha256 = Annotated[
    str,
    *_matches(
        "BP114",
        "[0-9a-f]{64}",
        "'{}' is not a SHA-256 sum",
        "write the 64 lower-case hex digits that sha256sum prints, in quotes",
    ),
]
FILE_NAME = "[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}"
FileName = Annotated[
    str,
    *_matches(
        "BP115",
        FILE_NAME,
        "'{}' is not the name of an image file",
        "write the name alone, without a folder: letters, digits and '._+~-'",
    ),
]
BackupPlace = Annotated[
    str,
    *_matches(
        "BP119",
        r"(?=.{2,200}$)([A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)?(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+-]+)+",
        "'{}' is no place for a backup",
        "write a folder like /srv/backup, or one of another machine like me@192.168.1.2:/home/me/router",
    ),
]
KeptPath = Annotated[
    str,
    *_matches(
        "BP116",
        r"(?=.{2,128}$)(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+-]+)+",
        "'{}' is not a path that can be kept",
        "write an absolute path like /etc/wireguard: "
        "at most 128 letters, digits and '._+-', no '..', no '/' at the end",
    ),
]
