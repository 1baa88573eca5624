"""The exception tree. Every error a user can cause is an AtelierError.

The command line prints it without a traceback, and ends with its exit code.

AtelierError (ValueError)
├── ConfigError       params.yaml or an override is wrong                       exit code 2
├── UsageError        a command was given something that does not exist         exit code 2
├── DataError         data can't be found, read, trusted or versioned           exit code 1
│   ├── RemoteError   a place across a network failed; trying again may help    exit code 1
│   └── LostError     neither cache nor remote holds a version of the data      exit code 1
├── TrainingError     a training can't start or can't go on                     exit code 1
├── EvaluationError   a score can't be computed                                 exit code 1
├── RegistryError     the registry can't be reached or refuses                  exit code 1
└── ProvenanceError   what a version was made of is lost, or gives another one  exit code 1
"""

from __future__ import annotations


class AtelierError(ValueError):
    """A mistake or a failure that is explained to the user.

    Its message says where, what was given, what is allowed, and what to do.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        # A path in it may hold bytes that are no text; Prefect and MLflow take text alone.
        super().__init__(message.encode("utf-8", "backslashreplace").decode())


class ConfigError(AtelierError):
    """params.yaml or an override is wrong."""

    exit_code = 2


class UsageError(AtelierError):
    """A command was given a model, version or file that does not exist."""

    exit_code = 2


class DataError(AtelierError):
    """Data can't be found, read, trusted or versioned."""


class RemoteError(DataError):
    """A place across a network failed; trying again may help, so the flows do."""


class LostError(DataError):
    """Neither cache nor remote holds a version of the data, or a part of one.

    Trying again won't help.
    """


class TrainingError(AtelierError):
    """A training can't start or can't go on."""


class EvaluationError(AtelierError):
    """A score can't be computed."""


class RegistryError(AtelierError):
    """The registry can't be reached, or refuses."""


class ProvenanceError(AtelierError):
    """What a version was made of is lost, or makes another version now."""
