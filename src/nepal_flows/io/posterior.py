"""The posterior of a model's networks as bytes: half of the root, and what bars are made with."""

import io
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nepal_flows.core.bayes.evidence import Posterior
from nepal_flows.errors import ModelError

POSTERIOR_FORMAT = "nepal-posterior-1"


@dataclass(frozen=True, eq=False)
class PackedPosterior:
    """A posterior and the model it belongs to.

    Attributes
    ----------
    posterior
        With a root in single precision.
    model_sha256
        SHA-256 of the nep.txt.
    """

    posterior: Posterior
    model_sha256: str

    def require_model(self, sha256: str) -> Posterior:
        """Return the posterior if it belongs to the model of this hash.

        Raises
        ------
        ModelError
            If it does not.
        """
        if sha256 != self.model_sha256:
            raise ModelError(
                f"The posterior belongs to the model {self.model_sha256[:12]}, not to "
                f"{sha256[:12]}. Make it again with this nep.txt."
            )
        return self.posterior


def pack_posterior(posterior: Posterior, model_sha256: str) -> bytes:
    """Return a posterior as bytes; its root is kept in single precision."""
    size = len(posterior.root)
    small = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in asdict(posterior).items()
        if name != "root"
    }
    description = {"format": POSTERIOR_FORMAT, "model_sha256": model_sha256, "size": size, **small}
    text = json.dumps(description, sort_keys=True).encode()
    half = posterior.root[np.triu_indices(size)].astype("<f4")
    buffer = io.BytesIO()
    for array in (np.frombuffer(text, dtype=np.uint8), half):
        np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def unpack_posterior(content: bytes) -> PackedPosterior:
    """Return the posterior from its bytes.

    Raises
    ------
    ModelError
        If they are not those of a posterior.
    """
    try:
        buffer = io.BytesIO(content)
        text = np.lib.format.read_array(buffer, allow_pickle=False)
        description = json.loads(text.tobytes())
        half = np.lib.format.read_array(buffer, allow_pickle=False)
        is_known = description.pop("format") == POSTERIOR_FORMAT
        size, sha256 = description.pop("size"), description.pop("model_sha256")
    except (ValueError, KeyError, EOFError) as error:
        raise ModelError("These bytes are no posterior. Make it again from the model.") from error
    if not is_known or len(half) != size * (size + 1) // 2:
        raise ModelError("This posterior is of an unknown format or cut short. Make it again.")
    root = np.zeros((size, size), dtype=np.float32)
    root[np.triu_indices(size)] = half
    values: dict[str, Any] = {
        name: np.array(value, dtype=np.float64) if isinstance(value, list) else value
        for name, value in description.items()
    }
    return PackedPosterior(Posterior(root=root, **values), sha256)


__all__ = ["PackedPosterior", "pack_posterior", "unpack_posterior"]
