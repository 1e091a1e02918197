"""A site: what a machine's batch system is called, what its nodes have, how processes are started there."""

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
from ensemble_mtl.config.checked import Mistake, mistakes
from ensemble_mtl.config.components import SchedulerOptions
from ensemble_mtl.config.sections import Section
from ensemble_mtl.core.errors import ConfigError

PLACEHOLDERS = ("nodes", "tasks", "tasks_per_node", "cpus_per_task", "cpus_per_node", "gpus_per_node")
"""What a launch command may refer to as ``{name}``."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _fits(pattern: str, expected: str, value: Any) -> Any:
    # fullmatch, since `$` would let a newline pass, and with it another directive
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        raise PydanticCustomError("word", "{reason}", {"reason": f"got {value!r}, expected {expected}"})
    return value


_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_WORD = r"[A-Za-z0-9_.,:/@%+=&|*~!()<>\[\]-]+"
_TIME = r"[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]"
Name = Annotated[
    str,
    StringConstraints(pattern=f"^{_NAME}$"),
    BeforeValidator(partial(_fits, _NAME, "a name of letters, digits, '.', '_', '+' and '-'")),
]
Word = Annotated[
    str,
    StringConstraints(pattern=f"^{_WORD}$"),
    BeforeValidator(partial(_fits, _WORD, "one word, without spaces, quotes, '#', '$', '\\' and ';'")),
]
Time = Annotated[
    str,
    StringConstraints(pattern=f"^{_TIME}$"),
    BeforeValidator(partial(_fits, _TIME, "HH:MM:SS, such as '02:00:00'")),
]


def _not_a_number(value: Any) -> Any:
    if isinstance(value, int):  # YAML 1.1 counts to the base of 60
        text = f"got {value!r}, expected 'HH:MM:SS' in quotes, since YAML reads 12:00:00 as a number"
        raise PydanticCustomError("time", "{reason}", {"reason": text})
    return value


class Site(Section):
    """A machine and how a study uses it; what the command line gives beats what stands here."""

    name: Name
    description: str = ""
    scheduler: SchedulerOptions
    """``slurm`` or ``lsf``, or a mapping with ``name`` and further directives of that scheduler."""
    nodes: PositiveInt = 1
    """Nodes of the allocation; of a job array, most elements that run at a time (no limit if left out)."""
    cpus_per_node: PositiveInt = 1
    gpus_per_node: NonNegativeInt = 0
    workers_per_gpu: PositiveInt = 1
    """Shards that share a GPU; small networks leave most of one idle."""
    time: Annotated[Time, BeforeValidator(_not_a_number)] = "01:00:00"
    """Time limit of a job."""
    gather_time: Annotated[Time, BeforeValidator(_not_a_number)] = "00:30:00"
    """Time limit of the job that gathers."""
    queue: Name | None = None
    """Slurm calls it partition."""
    account: Name | None = None
    """LSF calls it project."""
    max_array: PositiveInt = 1000
    """Most elements of a job array that the queue takes."""
    max_requeues: NonNegativeInt = 3
    """How often a job is requeued before it gives up."""
    signal_seconds: PositiveInt = 120
    """How long before its time limit a job is asked to checkpoint."""
    mpi: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Command that starts every rank, word by word; may refer to ``{nodes}``, ``{tasks}`` and others."""
    per_node: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Command that starts one process on each node, for Ray; likewise. If given, elements of arrays use it too."""
    interface: Name | None = None
    """Network interface between the nodes, for Ray; the one of the host's name if left out."""
    python: str | None = None
    """The interpreter in jobs; the one that submits if left out, ``python`` if ``setup`` activates one."""
    setup: tuple[str, ...] = ()
    """Lines of shell at the start of each job, taken as they are: module loads, an environment's activation."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of each job."""

    @field_validator("setup", mode="before")
    @classmethod
    def _one_text_is_lines(cls, value: Any) -> Any:
        return value.splitlines() if isinstance(value, str) else value

    @field_validator("mpi", "per_node")
    @classmethod
    def _known_placeholders(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        found = [Mistake((place,), text, word) for place, word in enumerate(value or ()) if (text := _unfit(word))]
        if found:
            raise mistakes(found)
        return value

    @field_validator("environment")
    @classmethod
    def _names_of_variables(cls, value: dict[str, str]) -> dict[str, str]:
        text = "expected a variable's name of letters, digits and '_'"
        found = [Mistake((name,), text, name) for name in value if not VARIABLE.fullmatch(name)]
        found += [Mistake((name,), "contains a NUL character", text) for name, told in value.items() if "\0" in told]
        if found:
            raise mistakes(found)
        return value

    @field_validator("gather_time")
    @classmethod
    def _some_time(cls, value: str) -> str:
        if seconds(value) == 0:
            raise ValueError("expected more than no time, which Slurm takes for no limit")
        return value

    @model_validator(mode="after")
    def _time_to_checkpoint(self) -> Site:
        if self.signal_seconds >= self.seconds:
            text = f"expected more than signal_seconds, which is {self.signal_seconds}"
            raise mistakes([Mistake(("time",), text, self.time)])
        return self

    @property
    def seconds(self) -> int:
        """The time limit."""
        return seconds(self.time)

    @property
    def workers_per_node(self) -> int:
        """Shards that run on a node at a time: per GPU where there are any, else one per core."""
        return self.gpus_per_node * self.workers_per_gpu or self.cpus_per_node


def _unfit(word: str) -> str:
    """What is wrong with a word of a launch command, or nothing."""
    try:
        parsed = [rest for _, *rest in string.Formatter().parse(word) if rest[0] is not None]
    except ValueError as error:
        return f"{error}; write {{{{ and }}}} for braces"
    if any(form or conversion for _, form, conversion in parsed):
        return "expected nothing but a name between braces; write {{ and }} for braces"
    unknown = [str(field) for field, _, _ in parsed if field not in PLACEHOLDERS]
    return f"placeholder {registry.unknown(unknown[0], list(PLACEHOLDERS))}" if unknown else ""


def seconds(time: str) -> int:
    """``HH:MM:SS`` as a number."""
    hours, minutes, rest = map(int, time.split(":"))
    return 3600 * hours + 60 * minutes + rest


def load(path: Path | None, given: dict[str, tuple[str, Any]], scheduler: str | None = None) -> Site:
    """The site that the YAML file ``path`` describes, or a plain one of ``scheduler``.

    Args:
        path: the file; None for the defaults.
        given: keys that the command line sets: its option, and the value.
        scheduler: the one asked for; must be the file's.

    Raises:
        ConfigError: the message names the file, line and key, or the option, of every fault.
    """
    data: dict[str, Any] = {"name": scheduler, "scheduler": scheduler}
    origins: config_file.Origins = {("scheduler",): "--scheduler", ("name",): "--scheduler"}
    if path:
        data, origins = config_file.read(path, "site", "'name' and 'scheduler'")
    for key, (option, value) in given.items():
        data[key], origins[(key,)] = value, option
    site = config_file.check(Site, data, origins, path or Path("site"))
    if path and scheduler and site.scheduler.name != scheduler:
        raise ConfigError(f"--scheduler {scheduler}: {path} is a site of {site.scheduler.name}; leave one of them out")
    return site


def schema() -> dict[str, Any]:
    """The JSON schema of a site's file, with the options of every scheduler."""
    found: dict[str, Any] = Site.model_json_schema()
    names = registry.names("cluster")
    kinds = [registry.load("cluster", name).Options.model_json_schema() for name in names]
    for name, kind in zip(names, kinds, strict=True):
        kind["required"] = ["name"]
        kind["properties"]["name"] = {"const": name}
    found["properties"]["scheduler"] = {"anyOf": [{"enum": names}, *kinds]}
    found["properties"]["setup"] = {"anyOf": [{"type": "string"}, found["properties"]["setup"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
