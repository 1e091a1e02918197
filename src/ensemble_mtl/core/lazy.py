"""Imports that cost nothing until they are used.

Files that only declare things at import time (a convolution's options and parameter
shapes) take torch from here, so that ``plan`` and ``--help`` start without loading it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType


def lazy_import(name: str) -> ModuleType:
    """The module ``name``, loaded at the first access to one of its attributes.

    Raises:
        ModuleNotFoundError: no such module is installed (raised at once).
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    return _Lazy(name)


class _Lazy(ModuleType):
    """Stands for a module; not entered in ``sys.modules``, so plain imports stay plain."""

    def __getattr__(self, attribute: str) -> object:
        # Nothing is kept here: what is replaced in the module later must be replaced for everyone.
        module = sys.modules.get(self.__name__) or importlib.import_module(self.__name__)
        value: object = getattr(module, attribute)
        return value
