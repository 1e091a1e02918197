"""Imports that cost nothing until the module is used.

Files that only declare things when they are imported (such as a convolution's options and
parameter shapes) import torch by :func:`lazy_import`, so that ``plan`` and ``--help`` start without loading it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType


def lazy_import(name: str) -> ModuleType:
    """Return the module ``name``, which is loaded at the first access to one of its attributes.

    Args:
        name: the module's full name, such as ``torch``.

    Raises:
        ModuleNotFoundError: no such module is installed; this is raised at once, not at the first access.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    return _LazyModule(name)


class _LazyModule(ModuleType):
    """A stand-in for a module; it is not entered in ``sys.modules``, so that plain imports get the module itself."""

    def __getattr__(self, attribute: str) -> object:
        # The value is not stored on the stand-in: a test that replaces an attribute of the module replaces it here too.
        module = sys.modules.get(self.__name__) or importlib.import_module(self.__name__)
        value: object = getattr(module, attribute)
        return value
