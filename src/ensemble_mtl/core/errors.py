"""The errors a user can cause or meet, under one base; each carries its process exit code.

A message says what is wrong, where, what was found, what was expected and what to try.
"""

from __future__ import annotations

EXIT_COMPLETE = 0
EXIT_MEMBER_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INCOMPLETE = 3
EXIT_CHECKPOINTED = 99


class EnsembleMTLError(Exception):
    """Base of every error that is reported as one message, without a traceback."""

    exit_code = EXIT_MEMBER_FAILED


class ConfigError(EnsembleMTLError):
    """The study's YAML file, or an option that overrides it, is wrong."""

    exit_code = EXIT_BAD_INPUT


class DataError(EnsembleMTLError):
    """Raw data, or the graph store built from them, is missing, malformed or changed."""

    exit_code = EXIT_BAD_INPUT


class StoreError(DataError):
    """A BP file is incomplete, corrupt, or not of this project's making."""


class StudyError(EnsembleMTLError):
    """The study directory is in a state in which the request cannot be carried out."""

    exit_code = EXIT_BAD_INPUT


class IncompleteStudyError(EnsembleMTLError):
    """There is nothing to report yet, or members are missing."""

    exit_code = EXIT_INCOMPLETE


class TrainingError(EnsembleMTLError):
    """A member cannot be trained, for example because its loss is not finite."""
