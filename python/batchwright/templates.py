"""Scripts for schedulers: where templates lie, and how values get into them without harm.

A template is code and comes from places the user controls; a value is data. Every value is a
quoted word of shell; in the lines that a scheduler reads itself, where no shell removes quotes, it
may consist of harmless characters only. Text with a control character is refused everywhere.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright import configuration
from batchwright.errors import ConfigError, TemplateError
from batchwright.resources import refuse_control
from batchwright.settings import thaw

if TYPE_CHECKING:
    import jinja2

    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

VARIABLE: Final = "BATCHWRIGHT_TEMPLATES"
SHIPPED: Final = Path(__file__).parent / "templates"
_SUFFIX: Final = ".tmpl"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIRECTIVE: Final = re.compile(r"#(SBATCH|\$|PBS|BSUB)(\s|$)")
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_.,:=/@%+-]*")
_HIDDEN: Final = ("command", "debug", "read_jobs", "tasks")


def find_template(name: str | os.PathLike[str]) -> Path:
    """Tell which template applies here.

    Parameters
    ----------
    name
        A name such as `slurm`, or the path of a file.

    Returns
    -------
    pathlib.Path
        The first of `NAME.tmpl` in `$BATCHWRIGHT_TEMPLATES`, `batchwright.NAME.tmpl` in the
        working folder, `NAME.tmpl` in the user's and the site's configuration folder, and the
        one that is shipped.

    Examples
    --------
    >>> find_template("slurm").name
    'slurm.tmpl'
    """
    text = os.fspath(name)
    if os.sep in text or text.endswith(_SUFFIX):
        return _own(Path(text).expanduser().absolute(), text)
    if not _NAME.fullmatch(text):
        raise TemplateError(f"`{text!r}` is no name of a template: give letters, digits, `_.-`")
    candidates = [
        *(Path(f) / f"{text}{_SUFFIX}" for f in os.environ.get(VARIABLE, "").split(":") if f),
        Path.cwd() / f"batchwright.{text}{_SUFFIX}",
        *(f / f"{text}{_SUFFIX}" for f in configuration.configuration_folders()),
        SHIPPED / f"{text}{_SUFFIX}",
    ]
    for path in candidates:
        if path.is_file():
            return _own(path, text)
    shipped = ", ".join(sorted(path.stem for path in SHIPPED.glob(f"*{_SUFFIX}")))
    looked = ", ".join(f"`{path}`" for path in candidates)
    raise TemplateError(
        f"there is no template `{text}`: looked for {looked}; shipped are {shipped}"
    )


def _own(path: Path, name: str) -> Path:
    if not path.is_file():
        raise TemplateError(f"template `{name}` is not there: `{path}` is no file")
    if path.parent == Path.cwd():
        try:
            configuration.ensure_own(path)
        except ConfigError as error:
            raise TemplateError(str(error).replace("by `conf_file`", "by its path")) from error
    return path


def render_script(
    reg: Registry, jc: JobCollection, template: str | os.PathLike[str], **more: Any
) -> Path:
    """Write the script of a collection, for authors of backends.

    Parameters
    ----------
    template
        Its name or path.
    more
        More variables of the template.

    Returns
    -------
    pathlib.Path
        The script, beside the collection. Remove it once the scheduler has read it.
    """
    text = render(find_template(template), jc, more)
    path = jc.uri.with_suffix(".job")
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o600 if reg.access == "private" else 0o640 if reg.access == "group" else 0o644
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def mentions(path: Path, variable: str) -> bool:
    """Whether a template uses a variable."""
    import jinja2.meta

    tree = _parsed(_environment(lambda value: value), path)
    return variable in jinja2.meta.find_undeclared_variables(tree)


def render(path: Path, jc: JobCollection, more: Mapping[str, Any] | None = None) -> str:
    """Fill a template in; what a scheduler would get."""
    import jinja2

    mark = secrets.token_hex(16)
    environment = _environment(lambda value: _marked(value, mark))
    _parsed(environment, path)
    variables = {**_variables(jc), **(more or {})}
    try:
        made = environment.from_string(_source(path)).render(variables)
    except jinja2.UndefinedError as error:
        known = ", ".join(sorted(variables))
        raise TemplateError(
            f"template `{path}`{_line(error)}: {error.message}; there are {known}, and "
            f"resources {', '.join(sorted(jc.resources)) or 'none'}"
        ) from error
    except jinja2.TemplateError as error:
        raise TemplateError(f"template `{path}`{_line(error)}: {error}") from error
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(error, TemplateError):
            raise TemplateError(f"template `{path}`{_line(error)}: {error}") from error
        raise TemplateError(
            f"template `{path}`{_line(error)}: {type(error).__name__}: {error}"
        ) from error
    text = "\n".join(_quoted(line, mark, path) for line in made.split("\n"))
    if not text.startswith("#!"):
        raise TemplateError(f"template `{path}` gives no script: its first line must begin by #!")
    return text if text.endswith("\n") else f"{text}\n"


def _variables(jc: JobCollection) -> dict[str, Any]:
    """Give every field of a collection, what is shell already as such."""
    found = {f.name: getattr(jc, f.name) for f in fields(jc) if f.name not in _HIDDEN}
    resources = cast("dict[str, Any]", thaw(jc.resources))
    if "setup" in resources:
        resources["setup"] = _Shell("\n".join(cast("list[str]", resources["setup"])))
    for name, other in (("partition", "queue"), ("queue", "partition")):
        if other in resources:
            resources.setdefault(name, resources[other])
    command = _Shell(jc.exec_command)
    return {**found, "resources": resources, "exec_command": command, "jobs": _Jobs(jc)}


class _Shell(str):
    """Text that is shell already and our own."""

    __slots__ = ()


class _Raw(str):
    """Text that the template wants as it is."""

    __slots__ = ()


class _Jobs:
    """The table of the jobs, read once a template asks for it."""

    def __init__(self, jc: JobCollection) -> None:
        self._jc = jc

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._jc.jobs, name)

    def __getitem__(self, column: str) -> list[Any]:
        return self._jc.jobs.column(column).to_pylist()

    def __len__(self) -> int:
        return self._jc.n_jobs


# -- values


def _marked(value: Any, mark: str) -> str:
    """Give a value between marks, by which lines are finished; called for each `{{ … }}`."""
    import jinja2

    if isinstance(value, jinja2.Undefined | _Shell):
        return str(value)  # the first raises
    if isinstance(value, str) and mark in value:
        return value  # the output of a macro or block, marked already
    if isinstance(value, _Raw):
        refuse_control("raw value", value)
        return str(value)
    if isinstance(value, list | tuple):
        return " ".join(_marked(item, mark) for item in cast("Sequence[Any]", value))
    if value is None or isinstance(value, Mapping):
        raise TemplateError(f"{value!r} is no word: name one of its items, or use `default`")
    text = str(value)
    refuse_control("value", text)
    return f"\x02{mark}{text}\x03{mark}"


def _quoted(line: str, mark: str, path: Path) -> str:
    """Finish a line: values become words of shell, or are refused where no shell reads them."""
    is_directive = _DIRECTIVE.match(line) is not None

    def word(found: re.Match[str]) -> str:
        value = found[1]
        if not is_directive:
            return shlex.quote(value)
        if not _HARMLESS.fullmatch(value):
            raise TemplateError(
                f"template `{path}`: {value!r} cannot stand in the line `{_bare(line, mark)}`, "
                "which the scheduler reads without a shell: use letters, digits and `_.,:=/@%+-`"
            )
        return value

    return re.sub(f"\x02{mark}(.*?)\x03{mark}", word, line)


def _bare(line: str, mark: str) -> str:
    return line.replace(f"\x02{mark}", "").replace(f"\x03{mark}", "")


def _minutes(seconds: Any) -> int:
    return max(1, math.ceil(float(seconds) / 60))


def _ceil(number: Any) -> int:
    return math.ceil(float(number))


def _hms(seconds: Any) -> str:
    whole = math.ceil(float(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


# -- Jinja2


def _environment(finalize: Callable[[Any], Any]) -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        cache_size=0,
    )
    for name in set(environment.globals) - {"range"}:  # the sandbox's own, which has an end
        del environment.globals[name]
    environment.filters |= {
        "raw": _Raw,
        "minutes": _minutes,
        "hms": _hms,
        "ceil": _ceil,
    }
    return environment


def _source(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"template `{path}` cannot be read: {error}") from error
    refuse_control(f"template {path}", text.replace("\n", "").replace("\t", ""))
    return text


def _parsed(environment: jinja2.Environment, path: Path) -> Any:
    import jinja2

    try:
        return environment.parse(_source(path))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template `{path}`, line {error.lineno}: {error.message}") from error


def _line(error: BaseException) -> str:
    """Give the line of the template in which an error arose."""
    number, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            number = trace.tb_lineno
        trace = trace.tb_next
    return "" if number is None else f", line {number}"
