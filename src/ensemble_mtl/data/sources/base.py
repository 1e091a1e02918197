"""What every data source offers: raw data in, structures with their targets out.

A source that needs a file of the study's own writes it into ``raw``; all others only read. Edges are not its business,
unless it gives bonds: :mod:`ensemble_mtl.data.edges` finds neighbours from positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import Mistake
from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.data.graph import SourceData, TargetInfo

if TYPE_CHECKING:
    from ensemble_mtl.config.study import StudyConfig

Progress = Callable[[int, int], None]
"""Called with (done, total) while raw data are read."""


class SourceOptions(registry.Options):
    """Options of every source, and what a configuration must know of it before any file is read."""

    gives_bonds: ClassVar[bool] = False
    """Whether its graphs come with bonds as edges; else their positions make the edges."""
    equal_targets_remedy: ClassVar[str] = ""
    """How its options allow two tasks with equal values, e.g. ``set data.duplicates: allow``; empty if they do not."""

    def declared(self) -> tuple[TargetInfo, ...]:
        """The targets on offer; empty if only the data tell, and then tasks are compared with these."""
        return ()

    def raw_path(self) -> Path | None:
        """The file or folder that is read; None if the data are made on the spot."""
        return None

    def allows_equal_targets(self) -> bool:
        """Whether two tasks may have equal values for every graph."""
        return False

    def misfits(self, study: StudyConfig) -> Iterator[Mistake]:
        """Targets that it does not offer, and settings of graphs that do not go with its edges."""
        yield from self._unfit_targets(study)
        yield from self._unfit_neighbors(study) if self.gives_bonds else self._unfit_bonds(study)

    def _unfit_targets(self, study: StudyConfig) -> Iterator[Mistake]:
        names = [info.name for info in self.declared()]
        for name, task in study.tasks.items():
            if names and task.target not in names:
                yield Mistake(("tasks", name, "target"), registry.unknown(task.target, names), task.target)

    def _unfit_neighbors(self, study: StudyConfig) -> Iterator[Mistake]:
        default = GraphConfig()
        for key in ("radius", "radius_unit", "periodic"):
            if (value := getattr(study.graph, key)) != getattr(default, key):
                text = f"data {self.name!r} gives the bonds itself, so no neighbours are searched; leave it out"
                yield Mistake(("graph", key), text, value)
        if study.model.edge_basis is not None:
            text = f"data {self.name!r} gives bonds without lengths; leave it out, and set graph.bonds"
            yield Mistake(("model", "edge_basis"), text, study.model.edge_basis)

    def _unfit_bonds(self, study: StudyConfig) -> Iterator[Mistake]:
        if study.graph.bonds is not None:
            text = f"data {self.name!r} gives no bonds; leave it out (model.edge_basis expands lengths)"
            yield Mistake(("graph", "bonds"), text, study.graph.bonds)


class Source(Protocol):
    """A module that reads one kind of raw data."""

    Options: type[SourceOptions]

    def read(self, options: Any, *, raw: Path, progress: Progress) -> SourceData:
        """All structures, in an order that is the same every time.

        Args:
            options: the module's ``Options``.
            raw: a folder in the study directory, where a source that makes its data writes them.
            progress: told how far it is, in units of the source's choice.

        Raises:
            DataError: nothing can be read, or what stands there is malformed.
            OSError: ``raw`` cannot be written.
        """

    def fingerprint(self, options: Any) -> dict[str, Any] | None:
        """What tells whether the raw data are still the same, as JSON values; None if they are not there any more.

        Left out, the options alone decide the data.
        """


def fingerprint(options: Any) -> dict[str, Any] | None:
    """There are no raw data that could change."""
    return {}


FAMILY = registry.Family[Source]("data.sources", Source, fingerprint=fingerprint)
