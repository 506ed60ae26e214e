"""The nep.in of a campaign."""

from nepal_flows.campaign.model import Campaign
from nepal_flows.errors import CampaignError
from nepal_flows.io.nep_in import NepInput


def nep_input_of(campaign: Campaign) -> NepInput:
    """Return the nep.in that describes a campaign's models, every keyword filled in.

    The evolution strategy's keywords keep their defaults; the native trainer does not read them.

    Raises
    ------
    CampaignError
        If the campaign's elements are not known yet (read the file with ``read_campaign``).
    """
    model, training = campaign.model, campaign.training
    if model.elements == "auto":
        raise CampaignError(
            "`model.elements` is `auto`. Read the campaign with `read_campaign`, which fills it in."
        )
    return NepInput(
        type=tuple(model.elements),
        cutoff=model.cutoff_A,
        n_max=model.n_max,
        basis_size=model.basis_size,
        l_max=model.l_max,
        neuron=model.neuron,
        zbl=None if model.zbl is None else model.zbl.outer_A,
        lambda_e=training.lambda_e,
        lambda_f=training.lambda_f,
        lambda_v=training.lambda_v,
    )


__all__ = ["nep_input_of"]
