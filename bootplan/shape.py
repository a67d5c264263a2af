"""Data into models, and pydantic's errors into our words and places."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, reduce
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model

from bootplan.diagnostics import Diagnostic, Path, Severity, kind_of, nearest, short
from bootplan.document import Document

_Shape = TypeVar("_Shape", bound=BaseModel)

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_MEANT = {
    "emmc": "mmc",
    "nand": "spinand spimnand",
    "nvme": "disk m2 nvmessd pcie ssd",
    "nvme-builtin": "builtin nvme own",
    "sd": "card microsd sdcard tf",
    "snapshot": "main master",
    "extroot-overlay": "extroot overlay",
    "extroot-pivot": "extrootroot pivot pivotoverlay pivotroot",
    "cmdline": "bootargs commandline root",
}
_CHOICE = {word: choice for choice, words in _MEANT.items() for word in words.split()}
"""Words that people use -> the choice they mean; of a word only letters and digits count."""
_BY_SERIAL = "a disk is chosen by `serial`; /dev/nvme0n1 is not fixed"
_INSTEAD = {
    ("Nvme", "device"): _BY_SERIAL,
    ("Nvme", "disk"): _BY_SERIAL,
    ("Nvme", "path"): _BY_SERIAL,
    ("Partition", "fs"): "write `filesystem`",
    ("Partition", "type"): "write `filesystem`",
    ("Partition", "format"): "write `filesystem`",
    ("Partition", "label"): "write `name`; it is also the label of the file system",
    ("Partition", "mountpoint"): "write `mount`",
}


def read(model: type[_Shape], document: Document) -> tuple[_Shape | None, list[Diagnostic]]:
    """The *document* as *model*, or None; and everything that is wrong with the text or its shape.

    Unknown keys alone do not keep the rest from being read, so that the rules can say what else is wrong.
    """
    found = list(document.diagnostics)
    if not document.readable:
        return None, found
    try:
        return model.model_validate(document.data), found
    except ValidationError as error:
        problems = error.errors(include_url=False)
        found += (_diagnostic(one, document, model) for one in (*problems, *_inside(problems, document, model)))
        if any(one["type"] != "extra_forbidden" for one in problems):
            return None, found
        return model.model_validate(_without(document.data, problems)), found


def _inside(problems: Any, document: Document, model: type[BaseModel]) -> Iterator[Any]:
    """What is wrong within something without its type, or of a type that there is not, as if it had the likeliest one.

    That is the first of its models, which has the keys of all.
    """
    for problem in problems:
        if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
            loc = problem["loc"]
            data = reduce(lambda place, key: place[key], loc, document.data)
            likely = _model_at(model, document.data, loc)
            (kind,) = get_args(likely.model_fields["type"].annotation)
            try:
                likely.model_validate({**data, "type": kind})
            except ValidationError as error:
                for one in error.errors(include_url=False):
                    yield {**one, "loc": (*loc, *one["loc"]), "inside": True}


class Unknown(Exception):
    """What is asked for cannot be told: a value of the plan is wrong."""


class _Wrong:
    """Stands for a value that is wrong, or not there: whoever asks what it is gets `Unknown`."""

    def _tell(self, *_: object) -> Any:
        raise Unknown

    __class__ = property(_tell)
    __getattr__ = __getitem__ = __iter__ = __len__ = __contains__ = __call__ = _tell
    __bool__ = __int__ = __index__ = __hash__ = __str__ = __repr__ = __format__ = _tell
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _tell
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __floordiv__ = __neg__ = _tell


_WRONG = _Wrong()


@contextmanager
def up_to_a_wrong_value() -> Iterator[None]:
    """What is done inside ends when it looks at a value that is wrong; what it has done so far counts."""
    try:
        yield
    except Unknown:
        pass
    except TypeError as error:  # of a function of Python's own, which looks at the kind of a value only
        if _Wrong.__name__ not in str(error):
            raise


def read_right(model: type[_Shape], document: Document) -> _Shape | None:
    """A *model* of what is right in the *document*, whose shape is wrong; None when nothing is.

    What a wrong value, or one that is missing, means is not guessed: who looks at it gets `Unknown`.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    wrong = {_path(one, document.data)[0] for one in problems if one["type"] != "extra_forbidden"}
    if () in wrong:
        return None
    data = _without(document.data, [one for one in problems if one["type"] == "extra_forbidden"])
    made: _Shape = _right(model, data, (), wrong)
    return made


def _right(annotation: Any, data: Any, path: Path, wrong: set[Path]) -> Any:
    """The *data* at *path* as what the *annotation* says, with a stand-in at each path that is *wrong*."""
    if path in wrong:
        return _WRONG
    annotation = _choose(annotation, data)
    if not any(one[: len(path)] == path for one in wrong):
        return _adapter(annotation).validate_python(data)  # a whole model, or text: what is converted is in a model
    if isinstance(data, dict) and get_origin(annotation) is dict:
        return {key: _right(get_args(annotation)[1], one, (*path, key), wrong) for key, one in data.items()}
    if isinstance(data, list):
        return tuple(_right(get_args(annotation)[0], one, (*path, at), wrong) for at, one in enumerate(data))
    fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
    touched = {key for key in fields if any(one[: len(path) + 1] == (*path, key) for one in wrong)}
    names = {name for name, field in annotation.model_fields.items() if (field.alias or name) not in touched}
    part = _part_of(annotation, frozenset(names)).model_validate(
        {key: one for key, one in data.items() if key not in touched}
    )
    values = {name: getattr(part, name) for name in names}
    for name, field in annotation.model_fields.items():
        if name not in names:
            key = field.alias or name
            values[name] = _right(field.annotation, data.get(key), (*path, key), wrong)
    made = annotation.model_construct()
    object.__setattr__(made, "__dict__", values)
    object.__setattr__(made, "__pydantic_fields_set__", part.model_fields_set | (set(values) - names))
    return made


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


@cache
def _part_of(model: type[BaseModel], names: frozenset[str]) -> type[BaseModel]:
    """A model with those fields of *model* that have these *names*."""
    fields: Any = {name: (field.annotation, field) for name, field in model.model_fields.items() if name in names}
    part: type[BaseModel] = create_model(model.__name__, __config__=model.model_config, **fields)
    return part


def _without(data: Any, problems: Any) -> Any:
    """A copy of *data* without the keys that the *problems* are about."""
    data = deepcopy(data)
    for problem in problems:
        path, _ = _path(problem, data)
        place = data
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]
    return data


def _diagnostic(error: Any, document: Document, model: type[BaseModel]) -> Diagnostic:
    kind, context = error["type"], error.get("ctx", {})
    path, of_key = _path(error, document.data)
    if kind == "missing":
        code, message, hint = "BP003", f"'{path[-1]}' is missing", _description(model, document.data, path)
    elif kind == "extra_forbidden":
        of_key = True
        code, message, hint = "BP002", f"unknown key '{short(str(path[-1]))}'", _instead(model, document.data, path)
    elif kind == "union_tag_not_found":
        path = (*path, "type")
        code, message, hint = "BP003", "'type' is missing", "write nvme, emmc, sd or nand"
    elif kind == "union_tag_invalid":
        path = (*path, "type")
        expected = " or ".join(context["expected_tags"].rsplit(", ", 1))
        code, message, hint = _literal(error["input"]["type"], expected, path, document)
    elif kind == "literal_error":
        code, message, hint = _literal(error["input"], context["expected"], path, document)
    elif kind == "too_short":
        code, message, hint = "BP003", f"'{path[-1]}' is empty; describe at least one", None
    elif kind.startswith("BP"):
        code, message, hint = kind, context["message"], context["hint"] or None
    elif kind in _WANTED:
        code, message, hint = "BP005", *_wrong_type(kind, error["input"], path, document)
    else:
        code, message, hint = "BP005", short(error["msg"][:1].lower() + error["msg"][1:], 200), None
    return Diagnostic(code, Severity.ERROR, message, hint, path, document.span(path, of_key))


def _path(error: Any, data: Any) -> tuple[Path, bool]:
    """The place of *error*, and whether it means a key.

    Behind the name of a medium, and nowhere else, pydantic puts in the medium's type, or a word of its own
    when the name itself is wrong. A plan may have keys of the same names.
    """
    loc: Path = error["loc"]
    if len(loc) < 3 or loc[0] != "media" or error.get("inside"):
        return loc, False
    if loc[2] == "[key]" and error["type"] != "extra_forbidden":
        return loc[:2], True
    medium = data["media"][loc[1]]
    tagged = isinstance(medium, dict) and medium.get("type") == loc[2]
    return (loc[:2] + loc[3:]) if tagged else loc, False


def _no_choice(word: str, expected: str, path: Path) -> tuple[str, str]:
    """Message and hint for a *word* at *path* that is none of the *expected* ones, as pydantic lists them."""
    known = [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",")]
    meant = _CHOICE.get("".join(one for one in word[:64].lower() if one.isalnum()))
    close = meant if meant in known else nearest(word, known)
    hint = f"did you mean '{close}'?" if close else f"write {', '.join(known[:-1])} or {known[-1]}"
    if path == ("boot", "medium") and meant in ("nvme", "nvme-builtin"):
        hint = f"write {', '.join(known[:-1])} or {known[-1]}; the boot ROM and U-Boot see no NVMe disk"
    return f"'{short(word)}' is not a choice here", hint if len(known) > 1 else f"write {known[0]}"


def _literal(value: Any, expected: str, path: Path, document: Document) -> tuple[str, str, str]:
    """What to say about a *value* that is none of the fixed words; a number may be a word without quotes."""
    if isinstance(value, str) and "'" in expected:
        return "BP006", *_no_choice(value, expected, path)
    if value is None:
        return "BP006", f"'{path[-1]}' has no value", f"write {expected}"
    written = document.written(path)
    if f"'{written}'" in expected:
        return "BP005", f"{written} is a number, and '{path[-1]}' is text", f'write it in quotes: "{written}"'
    return "BP006", f"'{path[-1]}' cannot be {short(written) or 'this'}", f"write {expected}"


def _wrong_type(kind: str, value: Any, path: Path, document: Document) -> tuple[str, str | None]:
    place = f"'{path[-1]}'" if path and isinstance(path[-1], str) else "this" if path else "a plan"
    if value is None:
        return f"{place} has no value; it must be {_WANTED[kind]}", None
    if kind == "int_type" and isinstance(value, float):
        hint = f"write {short(f'{value:.0f}')}" if value.is_integer() else None
        return f"{place} must be a whole number, not {short(document.written(path))}", hint
    message = f"{place} must be {_WANTED[kind]}, not {kind_of(value)}"
    if kind == "int_type" and isinstance(value, str) and value.isdecimal():
        return message, "write it without quotes"
    if kind == "string_type" and isinstance(value, int | float):
        return message, f'write it in quotes: "{short(document.written(path))}"'
    if kind == "tuple_type" and isinstance(value, str):
        return message, f"write [{short(value)}]"
    return message, None


def _instead(model: type[BaseModel], data: Any, path: Path) -> str:
    """What to write instead of the unknown key at *path*."""
    place = _model_at(model, data, path[:-1])
    word = str(path[-1])
    if (place.__name__, word) in _INSTEAD:
        return _INSTEAD[place.__name__, word]
    known = [field.alias or name for name, field in place.model_fields.items()]
    close = nearest(word, known)
    return f"did you mean '{close}'?" if close else f"known here: {', '.join(known)}"


def _description(model: type[BaseModel], data: Any, path: Path) -> str | None:
    """What the missing key at *path* is for."""
    for name, field in _model_at(model, data, path[:-1]).model_fields.items():
        if path[-1] in (name, field.alias):
            return field.description
    return None


def _model_at(model: type[BaseModel], data: Any, path: Path) -> type[BaseModel]:
    """The model that describes what is written at *path*, found along the annotations."""
    place: Any = model
    for part in path:
        data = data[part]
        if isinstance(place, type) and issubclass(place, BaseModel):
            place = next(field.annotation for name, field in place.model_fields.items() if part in (name, field.alias))
        else:
            place = get_args(place)[-1 if get_origin(place) is dict else 0]
        place = _choose(place, data)
    found: type[BaseModel] = place
    return found


def _choose(annotation: Any, data: Any) -> Any:
    """*annotation* without Annotated and None; of several models the one whose `type` is written."""
    if get_origin(annotation) is Annotated:
        return _choose(get_args(annotation)[0], data)
    if get_origin(annotation) in (Union, UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        for choice in choices:
            kind = getattr(choice, "model_fields", {}).get("type")
            if kind and isinstance(data, dict) and data.get("type") in get_args(kind.annotation):
                return choice
        return _choose(choices[0], data)
    return annotation
