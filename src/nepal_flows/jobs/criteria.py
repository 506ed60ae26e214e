"""The criteria of a campaign as they are stored: what grades and gives bars, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.bayes.bars import PosteriorBars
from nepal_flows.core.bayes.pool import PosteriorPool
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import ProjectionFactors, projection_factors
from nepal_flows.core.score_pools import FixedPool, GradePool, JointPool, ScorePool
from nepal_flows.core.scoring import BarScore
from nepal_flows.core.structure import Structure
from nepal_flows.io.asi import unpack_active_set
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.committee import committee_key, stored_committee
from nepal_flows.jobs.posterior import posterior_key, stored_posterior
from nepal_flows.jobs.stage import graded_model
from nepal_flows.records import Records
from nepal_flows.schemas import ActiveSetDoc, CommitteeDoc, Cost, PosteriorDoc


@dataclass(frozen=True, eq=False)
class Grader:
    """A model with its active set and the rows that stand behind it, and what scores by bars."""

    model: NepModel
    active_set: ActiveSet
    training: list[ProjectionFactors]
    by_bars: tuple[BarScore, ...]


def stored_grader(records: Records, document: ActiveSetDoc, campaign: Campaign) -> Grader:
    """Return the model of an active set with all that scores frames by the campaign's criteria."""
    training = graded_model(records, document)
    model = read_nep_txt(records.blobs.get(training.model).decode())
    frames = unpack_frames(records.blobs.get(training.dataset)).structures
    return Grader(
        model=model,
        active_set=unpack_active_set(records.blobs.get(document.active_set)),
        training=[projection_factors(model, structure) for structure in frames],
        by_bars=stored_bar_scores(records, campaign, document, model),
    )


def score_pool(
    campaign: Campaign,
    grader: Grader,
    structures: Sequence[Structure],
    factors: Sequence[ProjectionFactors],
) -> ScorePool | None:
    """Return candidates as the criteria score them; None where the grade decides alone.

    Parameters
    ----------
    campaign, grader
        The criteria, and what they rest on.
    structures, factors
        Of the candidates.
    """
    if not grader.by_bars:
        return None
    n_threads = campaign.resources.workers
    pools: list[ScorePool] = []
    for criterion in grader.by_bars:
        source, wanted = criterion.source, criterion.scale.wanted
        if isinstance(source, PosteriorBars):
            posterior, model = source.posterior, source.model
            pools.append(
                PosteriorPool(posterior, model, structures, wanted=wanted, n_threads=n_threads)
            )
        else:
            pools.append(FixedPool.of_bars(source, structures, wanted=wanted, n_threads=n_threads))
    scales = [criterion.scale for criterion in grader.by_bars]
    graded = criterion_limits(campaign).scales.get("grade")
    if graded is not None:
        scales.append(graded)
        pools.append(
            GradePool(
                grader.active_set,
                grader.training,
                factors,
                memory_limit_MB=campaign.resources.memory_limit_MB,
                n_threads=n_threads,
            )
        )
    return pools[0] if len(pools) == 1 else JointPool(pools, scales)


def stored_bar_scores(
    records: Records, campaign: Campaign, grader: ActiveSetDoc, model: NepModel
) -> tuple[BarScore, ...]:
    """Return the criteria with error bars of an active set's model; none for the grade alone.

    Raises
    ------
    RecordError
        If posterior or committee are not on record.
    ModelError
        If they belong to another model.
    """
    scales, found = criterion_limits(campaign).scales, []
    if "bayes" in scales:
        posterior = stored_posterior(records, campaign, grader)
        found.append(BarScore(PosteriorBars(posterior, model), scales["bayes"]))
    if "committee" in scales:
        committee = stored_committee(records, campaign, grader)
        found.append(BarScore(committee, scales["committee"]))
    return tuple(found)


def packed_criteria(
    records: Records, campaign: Campaign, grader: ActiveSetDoc
) -> dict[str, bytes | None]:
    """Return posterior and committee as bytes, None where the campaign does not go by them."""
    criteria = campaign.selection.criteria
    packed: dict[str, bytes | None] = {"posterior": None, "committee": None}
    if "bayes" in criteria:
        posterior = records.load(PosteriorDoc, posterior_key(campaign, grader))
        packed["posterior"] = records.blobs.get(posterior.posterior)
    if "committee" in criteria:
        committee = records.load(CommitteeDoc, committee_key(campaign, grader))
        packed["committee"] = records.blobs.get(committee.committee)
    return packed


def criteria_costs(
    records: Records, campaign: Campaign, grader: ActiveSetDoc, *, iteration: int
) -> dict[str, Cost]:
    """Return what posterior and committee of a model took in an iteration, by stage."""
    criteria, costs = campaign.selection.criteria, {}
    if "bayes" in criteria:
        posterior = records.load(PosteriorDoc, posterior_key(campaign, grader))
        costs["posterior"] = posterior.cost if posterior.iteration == iteration else Cost()
    if "committee" in criteria:
        committee = records.load(CommitteeDoc, committee_key(campaign, grader))
        costs["committee"] = committee.cost if committee.iteration == iteration else Cost()
    return costs


__all__ = [
    "Grader",
    "criteria_costs",
    "packed_criteria",
    "score_pool",
    "stored_bar_scores",
    "stored_grader",
]
