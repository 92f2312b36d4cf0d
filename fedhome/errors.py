"""Every error that fedhome raises on purpose.

::

    FedHomeError                 what happened, where, and a hint what to do about it
    ├── PlanError                a plan that cannot run: all of its faults at once
    ├── DataError                a home's data cannot be used
    │   ├── SourceError          a file, folder or data set that cannot be read
    │   ├── InputsError          a home's readings do not have the inputs of the plan
    │   ├── NoReadingsError      a home has recorded none yet
    │   └── EmptyFleetError      no home is left after the exclusions
    ├── ModelError               a module that cannot be trained or aggregated
    │   └── LayoutError          parameters of another layout than expected
    ├── UpdateError              a reply that cannot be used: malformed or not finite
    ├── RoundError               a round that cannot be closed (quorum, deadline)
    ├── RunError                 a run folder that cannot be used
    │   ├── ModelFormatError     a file of models that another fedhome wrote
    │   └── EventLogError        an event log that is truncated or was altered
    ├── SecAggError              secure aggregation was refused, or failed; `reason` is a short word
    │   ├── WireError            bytes that are no message of the protocol
    │   ├── DirectoryError       a directory of the fleet that does not hold, or an old one
    │   ├── ManifestError        a home refuses to take part in a round
    │   │   └── PrivacyBudgetError   a sum would cost more privacy than is left
    │   ├── BundleError          one-time keys that are malformed, unknown or used
    │   ├── UploadError          the server refuses a masked update
    │   ├── OpeningError         a member refuses to open a sum, or it cannot be opened
    │   ├── SumError             an opened sum that honest homes cannot have added up
    │   ├── StateError           a home's secret state that cannot be used
    │   └── ParameterError       parameters under which the promises would not hold
    ├── LinkError                the fleet's server cannot be reached, or refuses; `reason` as above
    ├── RegistryError            a registry of models that cannot be used; `reason` is a short word
    │   └── ReleaseError         a home refuses a release
    ├── PipelineError            a device that carries a part of a network is gone, or refuses
    ├── PluginError              a name for which no object is found
    └── EngineError              an engine that is not installed or cannot run this plan
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BundleError",
    "DataError",
    "DirectoryError",
    "EmptyFleetError",
    "EngineError",
    "EventLogError",
    "FedHomeError",
    "InputsError",
    "LayoutError",
    "LinkError",
    "ManifestError",
    "ModelError",
    "ModelFormatError",
    "NoReadingsError",
    "OpeningError",
    "ParameterError",
    "PipelineError",
    "PlanError",
    "PluginError",
    "PrivacyBudgetError",
    "RegistryError",
    "ReleaseError",
    "RoundError",
    "RunError",
    "SecAggError",
    "SourceError",
    "StateError",
    "SumError",
    "UpdateError",
    "UploadError",
    "WireError",
]


class FedHomeError(Exception):
    """Base of every error that fedhome raises on purpose.

    Args:
        message: What happened and where, in one or two plain sentences. It never
            holds private data or key material.
        hint: What the user can do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def with_hint(self) -> str:
        """The message, and after a semicolon the hint where there is one."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class PlanError(FedHomeError):
    """A plan that cannot run; ``faults`` lists every fault that was found."""

    def __init__(self, faults: Sequence[str], *, where: str = "the plan", hint: str = "") -> None:
        self.faults = tuple(faults)
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"{where} has {count}:{lines}", hint=hint)


class DataError(FedHomeError):
    """A home's data cannot be used."""


class SourceError(DataError):
    """A file, a folder or a named data set that cannot be read."""


class InputsError(DataError):
    """A home's readings do not have the inputs of the plan: a column, its kind or its unit."""


class NoReadingsError(DataError):
    """A home has recorded no readings yet, or none that counts."""


class EmptyFleetError(DataError):
    """No home is left to learn from after the exclusions."""


class ModelError(FedHomeError):
    """A module that cannot be trained or aggregated; lists every reason."""


class LayoutError(ModelError):
    """Parameters of another layout than the one expected; names both."""


class UpdateError(FedHomeError):
    """A reply that cannot be used: malformed, of another layout, or not finite."""


class RoundError(FedHomeError):
    """A round that cannot be closed: too few replies before the deadline."""


class RunError(FedHomeError):
    """A run folder that is missing, incomplete or of another plan."""


class ModelFormatError(RunError):
    """A file of homes' models is of a format that this fedhome does not read."""


class EventLogError(RunError):
    """An event log that is truncated or was altered; names the first bad line."""


class SecAggError(FedHomeError):
    """Secure aggregation was refused, or failed.

    Args:
        message: What happened, without any key, share or number of a home.
        reason: A short word for what was found, such as ``"replayed"``: logs count by it.
        hint: What can be done about it.
    """

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class WireError(SecAggError):
    """Bytes that are no message of the protocol, or not in its one canonical form."""


class DirectoryError(SecAggError):
    """A directory of the fleet without a valid signature, or older than one already seen."""


class ManifestError(SecAggError):
    """A home refuses to take part in a round; nothing of it was sent."""


class PrivacyBudgetError(ManifestError):
    """A sum would cost more privacy than is left, of a home's ceiling or of a run's epsilon."""


class BundleError(SecAggError):
    """One-time keys that are malformed, unknown or already used."""


class UploadError(SecAggError):
    """The server refuses a masked update; the running sum is unchanged."""


class OpeningError(SecAggError):
    """A committee member refuses to open a sum, or too few sound openings came."""


class SumError(SecAggError):
    """An opened sum is beyond what homes that keep to the protocol can have added up."""


class StateError(SecAggError):
    """A home's secret state is missing, damaged, or older than what was already used."""


class ParameterError(SecAggError):
    """Parameters of the protocol under which its promises would not hold."""


class LinkError(FedHomeError):
    """The fleet's server cannot be reached, or refuses.

    Args:
        message: What happened.
        reason: ``unreachable`` (try again), ``refused`` (not known there, or a clock that is
            off), ``over`` (the message's run has ended), ``node`` (not activated), ``session``
            (a reply must be announced anew), ``too-large`` (a reply is more than is waited for),
            ``failed`` (the server itself), ``answer`` (no sense in it); or, where the server said
            why it refuses, its own short word.
        hint: What can be done about it.
    """

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RegistryError(FedHomeError):
    """A registry of models, or a release in it, that cannot be used.

    Args:
        message: What happened and where, without any key.
        reason: A short word for what was found, such as ``"altered"``.
        hint: What can be done about it.
    """

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ReleaseError(RegistryError):
    """A home refuses a release; the model that it has stays in use."""


class PipelineError(FedHomeError):
    """A device of the home that carries a part of a network is gone, or refuses.

    Args:
        message: As in `FedHomeError`.
        device: Name of the device.
        hint: As in `FedHomeError`.
    """

    def __init__(self, message: str, *, device: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.device = device


class PluginError(FedHomeError):
    """A name (of a model, a strategy, a data set, ...) for which no object is found."""


class EngineError(FedHomeError):
    """An engine that is not installed, or that cannot run this plan."""
