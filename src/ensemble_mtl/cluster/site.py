"""A site: a machine with its batch system, the sizes of its nodes, and how processes are started on them."""

from __future__ import annotations

import re
import string
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import Checked, Mistake, mistakes
from ensemble_mtl.config.components import SchedulerChoice
from ensemble_mtl.config.schema import file_schema
from ensemble_mtl.core.errors import ConfigError

PLACEHOLDERS = ("nodes", "tasks", "tasks_per_node", "cpus_per_task", "cpus_per_node", "gpus_per_node")
"""What a launch command may refer to as ``{name}``."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Name of an environment variable."""


def _matching(pattern: str, expected: str, value: Any) -> Any:
    """Return ``value`` if it is no text, or a text that matches the whole pattern; otherwise raise an error."""
    # fullmatch, since a pattern that ends in `$` lets a newline pass, and with it another directive
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        raise PydanticCustomError("word", "{reason}", {"reason": f"got {value!r}, expected {expected}"})
    return value


_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_WORD = r"[A-Za-z0-9_.,:/@%+=&|*~!()<>\[\]-]+"
_TIME = r"[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]"
Name = Annotated[
    str,
    StringConstraints(pattern=f"^{_NAME}$"),
    BeforeValidator(partial(_matching, _NAME, "a name of letters, digits, '.', '_', '+' and '-'")),
]
Word = Annotated[
    str,
    StringConstraints(pattern=f"^{_WORD}$"),
    BeforeValidator(partial(_matching, _WORD, "one word, without spaces, quotes, '#', '$', '\\' and ';'")),
]
Time = Annotated[
    str,
    StringConstraints(pattern=f"^{_TIME}$"),
    BeforeValidator(partial(_matching, _TIME, "HH:MM:SS, such as '02:00:00'")),
]


def _not_a_number(value: Any) -> Any:
    """Return the time ``value`` unless it is a number, into which YAML 1.1 turns 12:00:00 to the base of 60."""
    if isinstance(value, int):
        text = f"got {value!r}, expected 'HH:MM:SS' in quotes, since YAML reads 12:00:00 as a number"
        raise PydanticCustomError("time", "{reason}", {"reason": text})
    return value


class Site(Checked):
    """A machine and how a study uses it; options of the command line override what is written here."""

    name: Name
    description: str = ""
    scheduler: SchedulerChoice
    """``slurm`` or ``lsf``, or a mapping with ``name`` and further directives of that scheduler."""
    nodes: PositiveInt = 1
    """Number of nodes of the allocation; for a job array, most elements that run at a time (no limit if left out)."""
    cpus_per_node: PositiveInt = 1
    gpus_per_node: NonNegativeInt = 0
    workers_per_gpu: PositiveInt = 1
    """Number of shards that share a GPU; a single shard of small networks leaves most of it idle."""
    time: Annotated[Time, BeforeValidator(_not_a_number)] = "01:00:00"
    """Time limit of a job."""
    gather_time: Annotated[Time, BeforeValidator(_not_a_number)] = "00:30:00"
    """Time limit of the job that gathers."""
    queue: Name | None = None
    """Queue to which jobs are submitted, which Slurm calls partition."""
    account: Name | None = None
    """Account that pays for the jobs, which LSF calls project."""
    max_array: PositiveInt = 1000
    """Most elements of a job array that the queue takes."""
    max_requeues: NonNegativeInt = 3
    """How often a job is requeued before it gives up."""
    signal_seconds: PositiveInt = 120
    """How long before its time limit a job is asked to checkpoint."""
    mpi: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Command that starts every rank, word by word; may refer to ``{nodes}``, ``{tasks}`` and others."""
    per_node: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Command that starts one process on each node, for Ray; may refer to the same names as ``mpi``. If it is set,
    elements of arrays use it too."""
    interface: Name | None = None
    """Network interface between the nodes, for Ray; if left out, the interface to which the host's name leads."""
    python: str | None = None
    """The interpreter in jobs; if left out, the one that submits. Write ``python`` if ``setup`` activates one."""
    setup: tuple[str, ...] = ()
    """Lines of shell at the start of each job, which are not quoted: to load modules, to activate an environment."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of each job."""

    @field_validator("setup", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_text_is_lines(cls, value: Any) -> Any:
        return value.splitlines() if isinstance(value, str) else value

    @field_validator("mpi", "per_node")
    @classmethod
    def _known_placeholders(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        faults = [Mistake((place,), text, word) for place, word in enumerate(value or ()) if (text := _fault(word))]
        if faults:
            raise mistakes(faults)
        return value

    @field_validator("environment")
    @classmethod
    def _names_of_variables(cls, value: dict[str, str]) -> dict[str, str]:
        text = "expected a variable's name of letters, digits and '_'"
        faults = [Mistake((name,), text, name) for name in value if not VARIABLE.fullmatch(name)]
        nul = "contains a NUL character, which no environment variable may"
        faults += [Mistake((name,), nul, content) for name, content in value.items() if "\0" in content]
        if faults:
            raise mistakes(faults)
        return value

    @field_validator("gather_time")
    @classmethod
    def _not_zero(cls, value: str) -> str:
        if seconds(value) == 0:
            raise ValueError("got no time at all, which Slurm takes for no limit, expected at least 00:00:01")
        return value

    @model_validator(mode="after")
    def _time_to_checkpoint(self) -> Site:
        if self.signal_seconds >= self.seconds:
            text = f"expected more than signal_seconds, which is {self.signal_seconds}"
            raise mistakes([Mistake(("time",), text, self.time)])
        return self

    @property
    def seconds(self) -> int:
        """The time limit of a job in seconds."""
        return seconds(self.time)

    @property
    def workers_per_node(self) -> int:
        """Number of shards that run on a node at a time: ``workers_per_gpu`` for each GPU, or one per core without."""
        return self.gpus_per_node * self.workers_per_gpu or self.cpus_per_node


def _fault(word: str) -> str:
    """Return what is wrong with a word of a launch command, or an empty text.

    Placeholders are filled in by :meth:`str.format_map`. Between braces only the names of placeholders are allowed:
    format specifications and attributes could use up the memory or reach into Python.
    """
    try:
        fields = [field for _, *field in string.Formatter().parse(word) if field[0] is not None]
    except ValueError as error:
        return f"{error}; write {{{{ and }}}} for braces"
    if any(specification or conversion for _, specification, conversion in fields):
        return "expected nothing but a name between braces; write {{ and }} for braces"
    unknown = [str(name) for name, _, _ in fields if name not in PLACEHOLDERS]
    return f"placeholder {registry.unknown(unknown[0], list(PLACEHOLDERS))}" if unknown else ""


def seconds(time: str) -> int:
    """Return the number of seconds of ``HH:MM:SS``."""
    hours, minutes, remaining_seconds = map(int, time.split(":"))
    return 3600 * hours + 60 * minutes + remaining_seconds


def load(path: Path | None, overrides: dict[str, tuple[str, Any]], scheduler: str | None = None) -> Site:
    """Return the site that the YAML file ``path`` describes, or one of ``scheduler`` with default values.

    Args:
        path: the file; None for the default values.
        overrides: key of the file -> name of the command line's option that sets it, and the value.
        scheduler: name of a scheduler, which must be the file's; may be None if there is a file.

    Raises:
        ConfigError: the message names the file, line and key, or the option, of every fault.
    """
    data: dict[str, Any] = {"name": scheduler, "scheduler": scheduler}
    origins: config_file.Origins = {("scheduler",): "--scheduler", ("name",): "--scheduler"}
    if path:
        data, origins = config_file.read(path, "site", "'name' and 'scheduler'")
    for key, (option, value) in overrides.items():
        data[key], origins[(key,)] = value, option
    site = config_file.check(Site, data, origins, path or Path("site"))
    if path and scheduler and site.scheduler.name != scheduler:
        raise ConfigError(
            f"--scheduler {scheduler}: {path} is a site of {site.scheduler.name}; leave --scheduler or --site out"
        )
    return site


def schema() -> dict[str, Any]:
    """Return the JSON schema of a site's file, with the options of every scheduler."""
    return file_schema(Site)
