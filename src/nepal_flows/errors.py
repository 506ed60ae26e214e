"""Every exception of the package.

::

    NepalError
    ├── InputError (ValueError)           a user's file, option or value is wrong
    │   ├── CampaignError                 the campaign file
    │   ├── StructureError                a structure: missing, unreadable, unphysical
    │   ├── LabelledDataError             energies, forces, virials that are missing or inconsistent
    │   ├── CarvingError                  a fragment that cannot be cut out of its parent
    │   ├── NepInputError                 nep.in
    │   └── SettingsError                 site settings, jobflow.yaml
    ├── ModelError (ValueError)           nep.txt: unreadable, unsupported, other elements
    ├── ActiveSetError (ValueError)       an active set that is unusable or of another model
    ├── TrainingError (RuntimeError)      a training that cannot start or diverged
    ├── EngineError (RuntimeError)        a program or an engine failed
    │   └── LabelError                    one label failed; its reason is recorded
    │       └── LabelTimeoutError         ... because it passed its time limit and was killed
    └── RecordError (RuntimeError)        the store
        ├── StoreUnavailableError         it cannot be opened, read or written
        ├── CampaignLockedError           another process runs this campaign
        └── BlobError                     a blob is missing or does not match its hash
"""

from typing import Literal

FailureKind = Literal[
    "not_converged", "crashed", "timeout", "corrupt_output", "harmful_correction", "unusable"
]
"""Why a label failed: self-consistency not found; the program died; killed at its time limit;
output cut short or contradictory; its inputs' physics changed on the way; a result that no gate
lets pass."""


class NepalError(Exception):
    """Base class of every error that nepal_flows raises on purpose."""


class InputError(NepalError, ValueError):
    """A user's file, option or value is wrong; the message says what to change."""


class CampaignError(InputError):
    """The campaign file asks for something that does not exist or makes no sense."""


class StructureError(InputError):
    """A structure is missing, unreadable or unphysical."""


class LabelledDataError(InputError):
    """Labelled frames lack energies, forces or virials, or contradict themselves."""


class CarvingError(InputError):
    """A fragment cannot be cut out of its parent, or what it needs is missing."""


class NepInputError(InputError):
    """A nep.in cannot be used."""


class SettingsError(InputError):
    """A site setting is wrong."""


class ModelError(NepalError, ValueError):
    """A nep.txt is unreadable, of an unsupported kind, or does not know an element."""


class ActiveSetError(NepalError, ValueError):
    """An active set cannot be used, or belongs to another model."""


class TrainingError(NepalError, RuntimeError):
    """A training cannot start or diverged."""


class EngineError(NepalError, RuntimeError):
    """A program or an engine failed."""


class LabelError(EngineError):
    """One label failed; its reason is recorded with the structure.

    Attributes
    ----------
    failure
        What kind of failure it is.
    """

    failure: FailureKind = "unusable"


class LabelTimeoutError(LabelError):
    """One label passed its time limit and was killed."""

    failure = "timeout"


class RecordError(NepalError, RuntimeError):
    """The store cannot do what was asked."""


class StoreUnavailableError(RecordError):
    """The store cannot be opened, read or written."""


class CampaignLockedError(RecordError):
    """Another process is running this campaign."""


class BlobError(RecordError):
    """A blob is missing, or its content does not match its hash."""


__all__ = [
    "ActiveSetError",
    "BlobError",
    "CampaignError",
    "CampaignLockedError",
    "CarvingError",
    "EngineError",
    "FailureKind",
    "InputError",
    "LabelError",
    "LabelTimeoutError",
    "LabelledDataError",
    "ModelError",
    "NepInputError",
    "NepalError",
    "RecordError",
    "SettingsError",
    "StoreUnavailableError",
    "StructureError",
    "TrainingError",
]
