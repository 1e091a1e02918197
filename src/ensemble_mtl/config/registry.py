"""Plug-ins: a name in the configuration is the name of a module, so a family is extended by adding one file.

``optimizer: adam`` is ``ensemble_mtl/train/optimizer/adam.py``. No list is kept anywhere. What the modules of a family
offer is stated once, as a ``Protocol`` in the family's ``base.py``, beside the :class:`Family` that finds and checks
them: functions and constants that a module leaves out have defaults there, or it is refused. What the *configuration*
must know of a plug-in (its options, and how they fit the rest of a study) stands in its ``Options``; what the *program*
does with it, in its functions.

``base`` and the modules that the package lists as ``NOT_EXTENSIONS`` are helpers and no plug-ins.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import traceback
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from ensemble_mtl.config.checked import Checked, Mistake
from ensemble_mtl.core.errors import PluginError, first_line

if TYPE_CHECKING:
    from ensemble_mtl.config.study import StudyConfig

ROOT = "ensemble_mtl"
Plugin = TypeVar("Plugin")


class Options(Checked):
    """Base of the options that a plug-in takes; ``name`` is the plug-in's name, which is that of its file."""

    name: str

    @property
    def short_name(self) -> str:
        """A short title: the name and all options that differ from their defaults.

        With ``{name: curvature, of: eigenvalue, every: 5}`` it is ``curvature-eigenvalue-every=5``.
        """
        fields = type(self).model_fields.items()
        changed = [
            (key, getattr(self, key)) for key, field in fields if key != "name" and getattr(self, key) != field.default
        ]
        return "-".join([self.name, *(value if isinstance(value, str) else f"{key}={value}" for key, value in changed)])

    def misfits(self, study: StudyConfig) -> Iterable[Mistake]:
        """The values in ``study`` that do not go with these options, by the study's keys, such as ``tasks.H.weight``.

        It is called once every section has been read. A plug-in overrides it where such a conflict is possible.
        """
        return ()


class Family(Generic[Plugin]):
    """The plug-ins of one folder, each a module that offers what the protocol ``Plugin`` states.

    Args:
        package: the folder, such as ``train.optimizer``.
        protocol: ``Plugin`` itself; its methods are the functions of a module (without ``self``), its annotated
            attributes the constants and classes.
        **defaults: the functions and constants that a module may leave out, by name, and what then stands for them.
    """

    def __init__(self, package: str, protocol: type[Any], **defaults: object) -> None:
        self.package, self.protocol, self.defaults = package, protocol, defaults
        self._loaded: dict[str, Plugin] = {}

    def names(self) -> list[str]:
        """Names of the plug-ins, sorted."""
        return names(self.package)

    def load(self, name: str) -> Plugin:
        """The plug-in ``name``, with defaults in the place of what its file leaves out.

        Raises:
            ValueError: there is no plug-in of that name; the message lists those that exist.
            PluginError: its file cannot be imported, lacks something, or defines something in another form.
        """
        if name not in self._loaded:
            self._loaded[name] = self._checked(name)
        return self._loaded[name]

    def of(self, options: Options) -> Plugin:
        """The plug-in that the ``options`` belong to."""
        return self.load(options.name)

    def _checked(self, name: str) -> Plugin:
        """Import the plug-in, fill in defaults, and check it against the protocol; errors are those of :meth:`load`."""
        if name not in self.names():
            raise ValueError(unknown(name, self.names()))
        try:
            module = importlib.import_module(f"{ROOT}.{self.package}.{name}")
        except Exception as error:  # whatever the statements of a module may raise
            spec = importlib.util.find_spec(f"{ROOT}.{self.package}.{name}")
            path = str(spec and spec.origin)
            text = f"{_line_of_fault(path, error)}cannot be imported ({first_line(error, with_type=True)})"
            raise PluginError(f"{path}: {text}; correct the file") from None
        for key, value in self.defaults.items():
            vars(module).setdefault(key, value)
        if faults := list(self._faults(module, name)):
            rules = importlib.import_module(f"{ROOT}.{self.package}.base").__file__
            raise PluginError(
                f"{module.__file__}: not a plug-in of {self.package}: {'; '.join(faults)}; {rules} says what it needs"
            )
        return cast("Plugin", module)

    def _faults(self, module: ModuleType, name: str) -> Iterator[str]:
        """A few words for everything in ``module`` that is not as the protocol states."""
        offered = vars(module)
        for key, function in functions(self.protocol).items():
            wanted = parameters(function)[1:]  # without self
            if key not in offered:
                yield f"lacks the function {key}{_listed(wanted)}"
            elif not callable(offered[key]):
                yield f"{key} is {offered[key]!r}, expected a function {key}{_listed(wanted)}"
            elif (got := parameters(offered[key])) != wanted:
                yield f"{key} takes {_listed(got)}, expected {_listed(wanted)}"
        for key, hint in get_type_hints(self.protocol).items():
            if key not in offered:
                yield f"lacks {key}, expected {_described(hint)}"
            elif not _is_a(offered[key], hint):
                yield f"{key} is {offered[key]!r}, expected {_described(hint)}"
            elif key == "Options" and (default := offered[key].model_fields["name"].default) != name:
                yield f"Options.name is {default!r} by default, expected {name!r}, which its file is called"


def _line_of_fault(path: str, error: Exception) -> str:
    """``line 3: ``, the last line of the file that ran before the error; empty if none ran, as with wrong syntax."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"line {lines[-1]}: " if lines else ""


def functions(protocol: type[Any]) -> dict[str, FunctionType]:
    """The functions that a protocol states, by name."""
    return {
        key: value
        for base in reversed(protocol.__mro__)
        for key, value in vars(base).items()
        if isinstance(value, FunctionType) and not key.startswith("_")
    }


def parameters(function: Any) -> list[inspect.Parameter]:
    """Names, kinds and defaults of a function's parameters, without their types."""
    annotated = inspect.signature(function).parameters.values()
    return [parameter.replace(annotation=inspect.Parameter.empty) for parameter in annotated]


def _listed(parameters: list[inspect.Parameter]) -> str:
    """The parameters as in a ``def`` statement, such as ``(options, steps=30)``."""
    return str(inspect.Signature(parameters))


def _is_a(value: object, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``, or derived from ``C`` where the hint is ``type[C]``."""
    origin = get_origin(hint)
    if origin is type:
        return isinstance(value, type) and issubclass(value, get_args(hint)[0])
    return value in get_args(hint) if origin is Literal else isinstance(value, origin or hint)


def _described(hint: Any) -> str:
    """The type ``hint`` in words for an error message."""
    if get_origin(hint) is type:
        base = get_args(hint)[0]
        return f"a class derived from {base.__module__}.{base.__qualname__}"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).removeprefix("typing.")


def family(package: str) -> Family[Any]:
    """The family of a folder, for code that has only its name; other code imports ``FAMILY`` from its ``base``."""
    plugins: Family[Any] = importlib.import_module(f"{ROOT}.{package}.base").FAMILY
    return plugins


def names(package: str) -> list[str]:
    """Names of the plug-ins in the folder ``package``, sorted; nothing but its ``__init__`` is imported."""
    folder = importlib.import_module(f"{ROOT}.{package}")
    helpers = {"base", *folder.NOT_EXTENSIONS}
    return sorted(module.name for module in pkgutil.iter_modules(folder.__path__) if module.name not in helpers)


def unknown(name: str, choices: list[str]) -> str:
    """A sentence that says ``name`` is none of the ``choices``, with the most similar of them as a hint."""
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"got {name!r}, expected one of {', '.join(choices)}{hint}"
