"""What every stored document has in common, and the small parts that documents are made of."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from nepal_flows import __version__


class Travelling(BaseModel):
    """A model that travels through jobflow and FireWorks as a field or argument of a job.

    Both turn what they do not know into text; ``as_dict`` and ``from_dict`` are what they know.
    Documents must not have them: a job carries their class, which would be taken for an object.
    """

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the class that reads them back."""
        name = {"@module": type(self).__module__, "@class": type(self).__name__}
        return {**name, **self.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Return the model that :meth:`as_dict` described."""
        fields = {name: value for name, value in content.items() if not name.startswith("@")}
        return cls.model_validate(fields)


class Part(BaseModel):
    """A part of a document: unknown keys are refused, values do not change after building."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Document(Part):
    """A stored document: small, typed, versioned. Fields are only ever added, with defaults.

    Documents are found by ``key``; ``kind`` says which class reads them back.
    """

    kind: ClassVar[str] = "document"

    schema_version: int = Field(1, description="Version of this document's fields.")
    code_version: str = Field(__version__, description="Version of nepal_flows that wrote it.")
    created_at: str = Field(default_factory=_now, description="When it was written, UTC.")
    key: str = Field(description="Unique key among documents of this kind.")
    campaign_id: str | None = Field(None, description="The campaign that asked for it.")
    iteration: int | None = Field(None, description="The iteration that asked for it, from 0.")

    def record(self) -> dict[str, Any]:
        """Return the document as plain JSON values, with its kind."""
        return {"kind": self.kind, **self.model_dump(mode="json")}


class BlobRef(Part):
    """Where bytes are kept: in the blob store, under their hash."""

    sha256: str = Field(description="SHA-256 of the content.")
    n_bytes: int = Field(description="Length of the content, bytes.")
    format: str = Field(description="What the bytes are: nep.txt, frames.npz, extxyz ...")


class Cost(Part):
    """What a step took."""

    wall_s: float = Field(0.0, description="Elapsed time, s.")
    cpu_s: float = Field(
        0.0, description="CPU time of all processes and threads, or of all cores held, s."
    )
    gpu_s: float = Field(0.0, description="Time that GPUs were held, times their number, s.")


class Errors(Part):
    """Root-mean-square and largest errors of a model on a set of labelled frames."""

    n_structures: int = Field(description="Frames compared.")
    n_atoms: int = Field(description="Atoms compared.")
    energy_rmse_meV_per_atom: float | None = Field(None, description="After the mean offset.")
    force_rmse_meV_per_A: float | None = Field(None, description="Over components.")
    force_max_meV_per_A: float | None = Field(None, description="Largest norm of an atom's error.")
    virial_rmse_meV_per_atom: float | None = Field(
        None, description="Over the six independent components."
    )
    reference_force_rms_meV_per_A: float | None = Field(None, description="Size of the forces.")


class Batch(Part):
    """What a job that makes several documents hands on: their keys."""

    keys: list[str] = Field(description="Keys, in order.")
    n_failed: int = Field(0, description="How many of them record a failure.")


Role = Literal["train", "holdout"]
"""Whether a label is trained on, or only ever tested against."""
