"""The nep.in of a campaign."""

from dataclasses import replace

from nepal_flows.campaign.model import Campaign
from nepal_flows.errors import CampaignError
from nepal_flows.io.nep_in import NepInput


def nep_input_of(campaign: Campaign) -> NepInput:
    """Return the nep.in that describes a campaign's models, every keyword filled in.

    The evolution strategy's keywords are those of a cold fit in the loop where `nep` trains, else
    their defaults.

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
    nep_input = NepInput(
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
    if training.trainer == "native":
        return nep_input
    return replace(
        nep_input,
        generation=training.nep.generations,
        population=training.nep.population,
        batch=training.nep.batch,
        lambda_1=training.nep.lambda_1,
        lambda_2=training.nep.lambda_2,
    )


__all__ = ["nep_input_of"]
