"""Extension by one file: a name in the configuration is the name of a module.

``conv: pna`` is ``ensemble_mtl/models/conv/pna.py``. No list is kept anywhere; dropping
a file into the package is enough, and the contract tests find it by themselves.
``base`` and the modules that the package lists as ``NOT_EXTENSIONS`` are no extensions.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from typing import Any

from ensemble_mtl.config.checked import Checked

ROOT = "ensemble_mtl"


class Options(Checked):
    """Base of the options that an extension takes; ``name`` is the extension's own name."""

    name: str

    @property
    def called(self) -> str:
        """The name, and what differs from the defaults, such as ``curvature-eigenvalue-every=5``."""
        fields = type(self).model_fields.items()
        own = [
            (key, getattr(self, key)) for key, field in fields if key != "name" and getattr(self, key) != field.default
        ]
        return "-".join([self.name, *(value if isinstance(value, str) else f"{key}={value}" for key, value in own)])


def names(package: str) -> list[str]:
    """Names of the extensions in ``ensemble_mtl.<package>``, sorted."""
    return list(_names(package))


@functools.cache
def _names(package: str) -> list[str]:
    family = importlib.import_module(f"{ROOT}.{package}")
    others = {"base", *getattr(family, "NOT_EXTENSIONS", ())}
    modules = (module.name for module in pkgutil.iter_modules(family.__path__))
    return sorted(name for name in modules if name not in others)


def load(package: str, name: str) -> Any:
    """The extension module ``name`` of ``ensemble_mtl.<package>``.

    Raises:
        ValueError: there is none of that name; the message lists those that exist.
    """
    known = names(package)
    if name not in known:
        raise ValueError(unknown(name, known))
    return importlib.import_module(f"{ROOT}.{package}.{name}")


def unknown(name: str, known: list[str]) -> str:
    """A sentence that says ``name`` is not among ``known``, with the nearest as a hint."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"got {name!r}, expected one of {', '.join(known)}{hint}"
