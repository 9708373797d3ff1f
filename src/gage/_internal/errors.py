"""Errors that Gage reports to people.

One tree. An error holds a message that says what is wrong and where, and an optional hint
that says what to do. Its `reference` is stable: scripts test it. Its `exit_code` is what a
command other than `run` and `start` exits with (those two report 125, see `cli/main`).

Imports nothing of Gage, so that every layer can raise these.
"""

from __future__ import annotations


class GageError(Exception):
    """Something a user can understand and mend."""

    reference = "error"
    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GageError):
    """The command line or an API call is not of the right form."""

    reference = "usage"
    exit_code = 2


class GageFileError(GageError):
    """A Gage file has one or more faults, each with file and line."""

    reference = "gage-file-invalid"


class UnknownOperation(GageError):
    """Neither an operation of the project nor a script."""

    reference = "unknown-operation"


class ProjectTooWide(GageError):
    """A directory that cannot be meant as a project, such as the home directory."""

    reference = "project-too-wide"


class UnknownConfig(GageError):
    """A config name that the operation does not have."""

    reference = "unknown-config"


class BadConfigValue(GageError):
    """A config value of the wrong type, or one that its file cannot hold."""

    reference = "bad-config-value"


class ConfigFileError(GageError):
    """A file that config is read from cannot be parsed."""

    reference = "config-file-invalid"


class BatchFileError(GageError):
    """A file of a batch is missing, cannot be parsed, or has no rows."""

    reference = "batch-file-invalid"


class UnknownPlugin(GageError):
    """A resolver, runtime or other plugin that is not installed."""

    reference = "unknown-plugin"


class SourceRefused(GageError):
    """A selected file cannot be staged: it is special, leaves the run or is gone."""

    reference = "source-refused"


class DependencyError(GageError):
    """A dependency cannot be resolved."""

    reference = "dependency-unresolved"


class ArchiveRefused(GageError):
    """An archive is none, is damaged, or holds what an honest one does not."""

    reference = "archive-refused"


class CacheDamaged(GageError):
    """Downloads that were kept are not what they were."""

    reference = "cache-damaged"


class NotKept(GageError):
    """An address of which nothing is kept."""

    reference = "not-kept"


class HookFailed(GageError):
    """A hook of the operation did not exit with 0."""

    reference = "hook-failed"


class RuntimeFailed(GageError):
    """What a run runs with cannot be made or found."""

    reference = "runtime-failed"


class StageFailed(GageError):
    """Staging could not be completed."""

    reference = "stage-failed"


class LeakFound(GageError):
    """A run refers to what would not be there elsewhere, and that was to be an error."""

    reference = "leak-found"


class RunNotFound(GageError):
    """No run goes by that name."""

    reference = "run-not-found"


class RunAmbiguous(GageError):
    """More than one run goes by that name."""

    reference = "run-ambiguous"


class RunDamaged(GageError):
    """A run whose meta files are missing or cannot be read."""

    reference = "run-damaged"


class NewerSchema(RunDamaged):
    """A run that was written by a newer Gage."""

    reference = "run-newer-schema"


class RunChanged(GageError):
    """A run whose files are not those of its manifest."""

    reference = "run-changed"


class NotStaged(GageError):
    """A run that is not staged cannot be started."""

    reference = "run-not-staged"


class IncompatibleSystem(GageError):
    """A run needs what the system does not have; `unmet` has an object of JSON for each."""

    reference = "incompatible-system"

    def __init__(
        self, message: str, hint: str | None = None, unmet: list[dict[str, str]] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.unmet = unmet or []


class SecretMissing(GageError):
    """A secret that a run needs has no value here."""

    reference = "secret-missing"


class SecretWritten(GageError):
    """The value of a secret would be written down."""

    reference = "secret-written"


class NotFinished(GageError):
    """A run that has not come to its end has no results."""

    reference = "run-not-finished"


class CannotIsolate(GageError):
    """A run cannot be started sealed here, or not in the way that was asked for."""

    reference = "cannot-isolate"


class AlreadyStarted(GageError):
    """A staged run is started once; this one was, or is being."""

    reference = "run-already-started"


class HasJob(GageError):
    """A run that an engine was given, to execute it when its turn comes."""

    reference = "run-has-job"


class RunActive(GageError):
    """A run that is being staged or is running cannot be changed."""

    reference = "run-active"


class NotRunning(GageError):
    """A run that does not run cannot be stopped."""

    reference = "run-not-running"


class CheckFailed(GageError):
    """`gage check` found something that is not in order."""

    reference = "check-failed"


class CapsuleRefused(GageError):
    """A capsule is none, is damaged, or holds what an honest one does not."""

    reference = "capsule-refused"


class UnknownRemote(GageError):
    """A remote that no settings define."""

    reference = "unknown-remote"


class RemoteFailed(GageError):
    """A remote does not do what it should."""

    reference = "remote-failed"


class RemoteUnreachable(RemoteFailed):
    """A remote cannot be reached, or is not there."""

    reference = "remote-unreachable"


class RemoteDenied(RemoteFailed):
    """A remote does not let anybody in, or is not known to be the one that is meant."""

    reference = "remote-denied"


class RemoteUnfit(RemoteFailed):
    """A remote lacks what a transfer needs there."""

    reference = "remote-unfit"


class UnknownEngine(GageError):
    """Where runs are to be started, which no settings define."""

    reference = "unknown-engine"


class EngineFailed(GageError):
    """An engine does not do what it should."""

    reference = "engine-failed"


class EngineUnreachable(EngineFailed):
    """An engine cannot be reached, or is not there."""

    reference = "engine-unreachable"


class SearchFailed(GageError):
    """A search cannot be made, or has found nothing."""

    reference = "search-failed"


class NoRoom(GageError):
    """Where a run is to go there is no room for it."""

    reference = "no-room"


class RunConflict(GageError):
    """A run is there already, and is not the same."""

    reference = "run-conflict"
