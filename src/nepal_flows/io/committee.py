"""A committee as bytes: the nep.txt of its members, and what their disagreement means."""

import json
from dataclasses import dataclass

from nepal_flows.core.committee import Committee
from nepal_flows.errors import ModelError
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt

COMMITTEE_FORMAT = "nepal-committee-1"


@dataclass(frozen=True, eq=False)
class PackedCommittee:
    """A committee and the model that it speaks for.

    Attributes
    ----------
    committee
        The committee.
    model_sha256
        SHA-256 of the nep.txt of its first member, which is the model that is used.
    """

    committee: Committee
    model_sha256: str

    def require_model(self, sha256: str) -> Committee:
        """Return the committee if it speaks for the model of this hash.

        Raises
        ------
        ModelError
            If it does not.
        """
        if sha256 != self.model_sha256:
            raise ModelError(
                f"The committee speaks for the model {self.model_sha256[:12]}, not for "
                f"{sha256[:12]}. Make it again for this nep.txt."
            )
        return self.committee


def pack_committee(texts: list[str], committee: Committee) -> bytes:
    """Return a committee as bytes.

    Parameters
    ----------
    texts
        nep.txt of the members, in order.
    committee
        The committee that they make.

    Raises
    ------
    ModelError
        If there is not one text for each member.
    """
    if len(texts) != len(committee.members):
        raise ModelError(
            f"There are {len(texts)} texts for {len(committee.members)} members; give one for each."
        )
    content = {
        "format": COMMITTEE_FORMAT,
        "training_deviation": committee.training_deviation,
        "force_scale": committee.force_scale,
        "members": texts,
    }
    return json.dumps(content).encode()


def unpack_committee(content: bytes) -> PackedCommittee:
    """Return the committee from its bytes.

    Raises
    ------
    ModelError
        If they are not those of a committee.
    """
    try:
        found = json.loads(content)
        is_known = found["format"] == COMMITTEE_FORMAT
        texts = list(found["members"])
        numbers = float(found["training_deviation"]), float(found["force_scale"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("These bytes are no committee. Make it again.") from error
    if not is_known or len(texts) < 2:
        raise ModelError("This committee is of an unknown format or cut short. Make it again.")
    members = tuple(read_nep_txt(text) for text in texts)
    return PackedCommittee(Committee(members, *numbers), model_sha256(texts[0]))


__all__ = ["PackedCommittee", "pack_committee", "unpack_committee"]
