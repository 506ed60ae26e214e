"""The posterior of a model's networks: what its error bars are made with."""

from dataclasses import dataclass

import numpy as np
from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.core.bayes.evidence import Posterior, posterior
from nepal_flows.core.bayes.gram import gram_matrices
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.posterior import pack_posterior, unpack_posterior
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, graded_model
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.records import Records, derived_key, made_once
from nepal_flows.schemas import ActiveSetDoc, PosteriorDoc, TrainingDoc

_TO_MEV = 1000.0


@dataclass
class PosteriorMaker(StageMaker):
    """Find the posterior of a model's networks from the frames it was trained on."""

    name: str = "posterior"

    @job(config=STAGE, output_schema=PosteriorDoc)
    def make(self, active_set_key: str) -> PosteriorDoc:
        """Return the posterior of the model that an active set belongs to.

        Parameters
        ----------
        active_set_key
            Names the model; handed on to the stages that grade.
        """
        records = Records.current()
        grader = records.load(ActiveSetDoc, active_set_key)
        training = graded_model(records, grader)
        key = posterior_key(self.campaign, grader)
        return made_once(
            records, PosteriorDoc, key, lambda: self._document(records, key, grader, training)
        )

    def _document(
        self, records: Records, key: str, grader: ActiveSetDoc, training: TrainingDoc
    ) -> PosteriorDoc:
        watch = Stopwatch()
        report_progress("posterior", 0, 1)
        layer = self.campaign.selection.bayes.layer
        model = read_nep_txt(records.blobs.get(training.model).decode())
        frames = unpack_frames(records.blobs.get(training.dataset)).labelled
        gram = gram_matrices(
            model,
            frames,
            training.reference_energies_eV,
            layer=layer,
            n_threads=self.campaign.resources.workers,
        )
        found = posterior(model, gram, layer=layer)
        content = pack_posterior(found, training.model_sha256)
        report_progress("posterior", 1, 1, f"{found.n_determined:.0f} of {len(found.root)}")
        return PosteriorDoc(
            key=key,
            campaign_id=training.campaign_id,
            iteration=training.iteration,
            model_key=training.key,
            model_sha256=training.model_sha256,
            active_set_key=grader.key,
            layer=layer,
            posterior=records.blobs.put(content, "posterior.bin"),
            n_parameters=len(found.root),
            n_determined=found.n_determined,
            n_iterations=found.n_iterations,
            energy_noise_meV_per_atom=_number(_TO_MEV * found.noises[0]),
            force_noise_meV_per_A=_number(_TO_MEV * found.noises[1]),
            energy_scale=_number(found.scales[0]),
            force_scale=found.force_scale,
            virial_scale=_number(found.scales[2]),
            cost=watch.cost(),
        )


def posterior_key(campaign: Campaign, grader: ActiveSetDoc) -> str:
    """Return the key of the posterior of an active set's model under a campaign's choices."""
    return derived_key("posterior", grader.key, campaign.selection.bayes.layer)


def stored_posterior(records: Records, campaign: Campaign, grader: ActiveSetDoc) -> Posterior:
    """Return the posterior of an active set's model.

    Raises
    ------
    RecordError
        If it is not on record.
    ModelError
        If it belongs to another model.
    """
    document = records.load(PosteriorDoc, posterior_key(campaign, grader))
    packed = unpack_posterior(records.blobs.get(document.posterior))
    return packed.require_model(grader.model_sha256)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


__all__ = ["PosteriorMaker", "posterior_key", "stored_posterior"]
