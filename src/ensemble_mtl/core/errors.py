"""Errors that are reported to the user as one message, each with the exit code of the process.

A message says what is wrong and where, what the value is, what was expected, and what to try.
"""

from __future__ import annotations

EXIT_COMPLETE = 0
"""Everything that was asked for is done."""
EXIT_MEMBER_FAILED = 1
"""A member could not be trained, or another error ended the command."""
EXIT_BAD_INPUT = 2
"""The configuration, the data or the study directory must be corrected before another try can succeed."""
EXIT_INCOMPLETE = 3
"""Members of the study have no result yet."""
EXIT_CHECKPOINTED = 99
"""Training stopped on request with checkpoints; the same command continues."""


def first_line(error: BaseException, *, with_type: bool = False) -> str:
    """Return the first line of what ``error`` says, or its type's name if it says nothing.

    Errors of libraries may go on for pages.

    Args:
        error: the error.
        with_type: whether the name of its type stands before the line, as in ``KeyError: 'H'``.
    """
    return _line(error, 0, with_type)


def last_line(error: BaseException, *, with_type: bool = False) -> str:
    """Return the last line of what ``error`` says, which names the cause where a library puts its call stack first.

    Arguments, and what is returned if it says nothing, are those of :func:`first_line`.
    """
    return _line(error, -1, with_type)


def _line(error: BaseException, number: int, with_type: bool) -> str:
    lines, name = str(error).strip().splitlines(), type(error).__name__
    if not lines:
        return name
    return f"{name}: {lines[number]}" if with_type else lines[number]


class EnsembleMTLError(Exception):
    """Base of every error that is reported as one message, without a traceback."""

    exit_code = EXIT_MEMBER_FAILED


class ConfigError(EnsembleMTLError):
    """The study's YAML file, or an option that overrides it, is wrong."""

    exit_code = EXIT_BAD_INPUT


class PluginError(EnsembleMTLError):
    """A file in the folder of a family of plug-ins does not offer what the family asks for."""

    exit_code = EXIT_BAD_INPUT


class DataError(EnsembleMTLError):
    """Raw data, or the graph store built from them, is missing, malformed or changed."""

    exit_code = EXIT_BAD_INPUT


class StoreError(DataError):
    """A BP folder is incomplete or corrupt, or this package did not write it."""


class StudyError(EnsembleMTLError):
    """The study directory is in a state in which the command cannot be carried out."""

    exit_code = EXIT_BAD_INPUT


class IncompleteStudyError(EnsembleMTLError):
    """Results of members are missing, or there are none to report yet."""

    exit_code = EXIT_INCOMPLETE


class TrainingError(EnsembleMTLError):
    """A member cannot be trained, for example because its loss is not finite."""
