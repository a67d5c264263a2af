"""The script's text: one template around a generated page and the constant library."""

import hashlib
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bootplan import __version__
from bootplan.assets import TEMPLATES
from bootplan.shell import Verbatim, comment, name_of, printed, quote, words
from bootplan.steps import Program


@cache
def library() -> str:
    """The shell library: the files of templates/lib in the order of their names, the same in every script."""
    files = sorted((TEMPLATES / "lib").glob("*.sh"))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def render(program: Program) -> str:
    """The script of *program*; the same program gives the same bytes."""
    text = library()
    return _template().render(
        program=program,
        version=__version__,
        library=Verbatim(text),
        library_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        finalize=quote,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(words=words, comment=comment, name=name_of, printed=printed)
    return environment.get_template("script.sh.j2")
