"""Made-up campaigns with the numbers a real one has, in every state a report may meet."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from nepal_flows.records import label_key
from nepal_flows.report.data import GradeTrace, LossHistory, ParityPoints, ReportData
from nepal_flows.schemas import (
    ActiveSetDoc,
    Ancestry,
    Attempt,
    BlobRef,
    Calibration,
    CalibrationBin,
    CampaignDoc,
    Certificate,
    ConditionVerdict,
    Cost,
    ElementCoverage,
    Errors,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectedFrame,
    SelectionDoc,
    TrainingDoc,
    ValidationDoc,
)

CONDITIONS = ("crystal ramp", "strained ramp", "vacancy ramp", "10 GPa ramp", "liquid 1500 K")
VALIDATION_CONDITIONS = ("solid 300 K", "solid 900 K", "solid 1500 K", "liquid 1500 K")
N_PROJECTION = 540
GAMMA_LOW = 5.0
BINS = (0.0, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0, None)
WHEN = "2026-03-04T10:{:02d}:00+00:00"


def _blob(tag: str, kind: str = "frames.npz") -> BlobRef:
    return BlobRef(sha256=(tag.encode().hex() * 16)[:64], n_bytes=4096, format=kind)


def _sha(tag: str) -> str:
    return (tag.encode().hex() * 32)[:64]


def _errors(force: float, n: int = 40, n_atoms: int = 32, peak: float = 9.0) -> Errors:
    return Errors(
        n_structures=n,
        n_atoms=n * n_atoms,
        energy_rmse_meV_per_atom=force / 9,
        force_rmse_meV_per_A=force,
        force_max_meV_per_A=peak * force,
        virial_rmse_meV_per_atom=force / 2,
        reference_force_rms_meV_per_A=820.0,
    )


class FakeCampaign:
    """Builds the documents of one campaign, iteration by iteration."""

    def __init__(
        self, elements: tuple[str, ...], conditions: tuple[str, ...], *, seed: int = 0
    ) -> None:
        self.elements = elements
        self.conditions = conditions
        self.rng = np.random.default_rng(seed)
        self.labels: list[LabelDoc] = []
        self.models: list[TrainingDoc] = []
        self.active_sets: list[ActiveSetDoc] = []
        self.explorations: list[ExplorationDoc] = []
        self.selections: list[SelectionDoc] = []
        self.iterations: list[IterationDoc] = []
        self.traces: list[GradeTrace] = []

    def add_label(self, index: int, iteration: int | None, role: str, source: str) -> LabelDoc:
        """Make a label; every fifteenth fails."""
        is_failed = index % 15 == 14
        attempts = [Attempt(rung="default", error="SCF did not converge in 60 steps", wall_s=40.0)]
        attempts.append(
            Attempt(
                rung="mixing",
                changed={"mixing": 0.2},
                error="forces hold NaN" if is_failed else None,
                wall_s=60.0,
            )
        )
        doc = LabelDoc(
            key=label_key(_sha(f"s{index}"), _sha("emt")),
            created_at=WHEN.format(2 * (iteration or 0)),
            iteration=iteration,
            structure_key=_sha(f"s{index}"),
            settings_key=_sha("emt"),
            status="quarantined" if is_failed else "done",
            reason="forces hold NaN after 2 attempts" if is_failed else None,
            labeler="ase",
            role=role,
            ancestry=Ancestry(
                source=source,
                condition=None
                if source == "seed"
                else self.conditions[index % len(self.conditions)],
                step=10 * index,
                gamma=float(self.rng.lognormal(2, 1)),
            ),
            formula="".join(f"{symbol}16" for symbol in self.elements),
            elements=list(self.elements),
            n_atoms=32,
            volume_A3=380.0,
            frame=_blob(f"l{index}"),
            energy_eV=None if is_failed else -120.0,
            force_max_eV_per_A=2.0,
            net_force_eV_per_A=1e-6,
            attempts=attempts if is_failed or index % 11 == 0 else attempts[1:],
            cost=Cost(wall_s=2.0, cpu_s=2.0),
        )
        self.labels.append(doc)
        return doc

    def seed(self) -> None:
        """Eight starting cells, labelled before the first iteration."""
        labels = [self.add_label(index, None, "train", "seed") for index in range(8)]
        self.selections.append(
            SelectionDoc(
                key="copper-quickstart/seed",
                created_at=WHEN.format(0),
                model_sha256="",
                n_candidates=8,
                budget=8,
                selected=[
                    SelectedFrame(
                        structure_key=label.structure_key,
                        role="train",
                        condition="seed",
                        run_key="copper-quickstart/seed",
                        step=0,
                        gamma=0.0,
                        note="rattled, strained cell of 32 atoms",
                    )
                    for label in labels
                ],
            )
        )

    def coverage(self, iteration: int) -> list[ElementCoverage]:
        """Rank that saturates after a few rounds."""
        parts = []
        for number, element in enumerate(self.elements):
            rows = int((256 + 300 * iteration) / (1 + 0.8 * number))
            rank = int(min(rows, 512 - 40 * number) * (1 - 0.3 * np.exp(-iteration)))
            parts.append(
                ElementCoverage(
                    element=element,
                    n_rows=rows,
                    n_distinct_rows=int(0.97 * rows),
                    n_projection=N_PROJECTION,
                    rank=rank,
                    rank_before_last_batch=int(rank * (0.7 if iteration < 2 else 0.99)),
                    is_saturated=iteration > 2,
                    log_determinant=-812.0,
                    largest_training_grade=1.0008,
                    out_of_span_scale=1e-3,
                )
            )
        return parts

    def verdict(self, name: str, iteration: int, *, last: int) -> ConditionVerdict:
        """One condition: hot ones come clean later."""
        is_extreme = "liquid" in name
        level = 2e6 if iteration == 0 else 900 * np.exp(-0.9 * iteration) * (4 if is_extreme else 1)
        gamma_max = float(max(1.4, level * self.rng.uniform(0.7, 1.4)))
        windows = 420
        share = 0.97 if iteration == 0 else max(0.0, np.exp(-0.8 * iteration) - 0.03)
        exceeded = int(windows * share) if gamma_max > GAMMA_LOW else 0
        is_clean = exceeded <= windows * (0.02 if is_extreme else 0.005)
        reasons = [] if is_clean else [f"{name}: {exceeded} of {windows} windows exceed the limit."]
        finished = 20000 if iteration else 12400
        return ConditionVerdict(
            condition=name,
            is_extreme=is_extreme,
            is_clean=is_clean,
            reasons=reasons,
            n_runs=2,
            requested_steps=20000,
            finished_steps=finished,
            n_checks=2000,
            n_windows=windows,
            n_exceeded_windows=exceeded,
            exceedance=exceeded / windows,
            exceedance_upper_95=min(1.0, (exceeded + 3) / windows),
            allowance=0.02 if is_extreme else 0.005,
            gamma_max=gamma_max,
            gamma_median=float(1.0 + level / 60),
            new_label_errors=_errors(12 + 200 * np.exp(-iteration), 3)
            if iteration < last
            else None,
            training_errors=_errors(10 + 60 * np.exp(-iteration), 12),
        )

    def calibration(self, iteration: int) -> Calibration:
        """Errors that rise with the grade."""
        bins = []
        for low, high in pairwise(BINS):
            force = 6.0 * (1 + low) ** 0.75
            count = int(3000 / (1 + low))
            if low > 3 and iteration > 5:
                count = int(40 / low)
            if count:
                bins.append(
                    CalibrationBin(
                        gamma_from=low,
                        gamma_to=high,
                        n_atoms=count,
                        force_rmse_meV_per_A=force,
                        force_p99_meV_per_A=3.1 * force,
                        force_max_meV_per_A=7.0 * force,
                    )
                )
        return Calibration(
            bins=bins,
            n_atoms=sum(part.n_atoms for part in bins),
            share_called_safe=0.2 if iteration == 0 else 0.99,
            largest_error_called_safe_meV_per_A=140.0,
            spearman=0.88 * np.exp(-0.2 * iteration),
        )

    def explore(self, iteration: int, verdicts: list[ConditionVerdict], phase: str) -> list[str]:
        """Two runs of every condition, with their traces."""
        keys = []
        for verdict in verdicts:
            for replica in range(2):
                key = f"run-{iteration}-{verdict.condition}-{replica}"
                keys.append(key)
                is_whole = verdict.finished_steps == verdict.requested_steps
                steps = np.arange(0, verdict.finished_steps // 2, 50, dtype=float)
                noise = self.rng.normal(0, 0.25, len(steps))
                grades = verdict.gamma_median * np.exp(noise + steps / steps[-1] * 0.3)
                grades = np.minimum(grades, verdict.gamma_max)
                self.traces.append(GradeTrace(verdict.condition, replica, iteration, steps, grades))
                self.explorations.append(
                    ExplorationDoc(
                        key=key,
                        created_at=WHEN.format(2 * iteration),
                        iteration=iteration,
                        condition=verdict.condition,
                        replica=replica,
                        engine="native",
                        model_sha256=_sha(f"m{iteration}"),
                        active_set_key=f"as-{iteration}",
                        seed=17 * iteration + replica,
                        is_extreme=verdict.is_extreme,
                        is_confirmation=phase == "confirmation",
                        n_atoms=32,
                        requested_steps=verdict.requested_steps // 2,
                        finished_steps=verdict.finished_steps // 2,
                        outcome="finished" if is_whole else "stopped_by_gate",
                        reason=None if is_whole else "Cu-Cu distance 1.42 Å below 1.6 Å",
                        n_checks=verdict.n_checks // 2,
                        n_exceeded_checks=verdict.n_exceeded_windows,
                        window_checks=5,
                        n_windows=verdict.n_windows // 2,
                        n_exceeded_windows=verdict.n_exceeded_windows // 2,
                        gamma_low=GAMMA_LOW,
                        gamma_max=verdict.gamma_max,
                        gamma_quantiles={"0.5": verdict.gamma_median, "0.99": verdict.gamma_max},
                        cost=Cost(wall_s=3.0, cpu_s=3.0),
                    )
                )
        return keys

    def select(self, iteration: int, verdicts: list[ConditionVerdict]) -> SelectionDoc:
        """Up to ten frames, the rest refused with reasons."""
        dirty = [v for v in verdicts if not v.is_clean]
        selected = [
            SelectedFrame(
                structure_key=_sha(f"s{len(self.labels) + i}"),
                role="holdout" if i % 5 == 4 else "train",
                condition=dirty[i % len(dirty)].condition,
                run_key=f"run-{iteration}-{dirty[i % len(dirty)].condition}-0",
                step=100 * i,
                gamma=800.0 / (i + 1),
                gamma_when_chosen=700.0 / (i + 1),
            )
            for i in range(min(10, 3 * len(dirty)))
        ]
        refused = {
            "covered": 40 - 3 * iteration,
            "near_duplicate_of_labelled": 6 if dirty else 0,
            "above_ceiling": 12 if iteration < 2 else 0,
            "over_budget": 9 if iteration < 4 else 0,
        }
        doc = SelectionDoc(
            key=f"selection-{iteration}",
            created_at=WHEN.format(2 * iteration),
            iteration=iteration,
            model_sha256=_sha(f"m{iteration}"),
            n_candidates=len(selected) + sum(refused.values()),
            budget=10,
            selected=selected,
            refused=refused,
            largest_remaining_grade=4.6,
            cost=Cost(wall_s=0.4, cpu_s=0.6),
        )
        self.selections.append(doc)
        return doc

    def train(self, iteration: int, stage: str = "loop") -> TrainingDoc:
        """A model; the final one is fitted longer."""
        force = 8.4 if stage == "final" else 12 + 40 * np.exp(-0.5 * iteration)
        tag = f"m{iteration}" if stage == "loop" else "final"
        done = [d for d in self.labels if d.role == "train" and d.status == "done"]
        doc = TrainingDoc(
            key=f"model-{tag}",
            created_at=WHEN.format(2 * iteration),
            iteration=iteration,
            model_sha256=_sha(tag),
            model=_blob(tag, "nep.txt"),
            nep_in=_blob(tag + "in", "nep.in"),
            history=_blob(tag + "h", "loss.out"),
            dataset=_blob(tag + "d"),
            dataset_key=_sha(f"d{iteration}"),
            n_structures=len(done),
            n_atoms=32 * len(done),
            elements=list(self.elements),
            trainer="native",
            settings={"adam_steps": 2000, "lbfgs_steps": 100, "lambda_f": 1.0},
            seed=1234 + iteration,
            stage=stage,
            reference_energies_eV=dict.fromkeys(self.elements, -3.5),
            training_errors=_errors(force, len(done)),
            holdout_errors=_errors(1.1 * force, 10),
            best_step=2080,
            cost=Cost(wall_s=6.0, cpu_s=6.0),
        )
        self.models.append(doc)
        return doc

    def iterate(self, iteration: int, phase: str, *, last: int, n_clean: int) -> IterationDoc:
        """One whole iteration."""
        model = self.train(iteration)
        coverage = self.coverage(iteration)
        self.active_sets.append(
            ActiveSetDoc(
                model_key=model.key,
                key=f"as-{iteration}",
                created_at=WHEN.format(2 * iteration),
                iteration=iteration,
                model_sha256=model.model_sha256,
                variant="subspace",
                rcond=1e-6,
                active_set=_blob(f"as{iteration}", "active_set.npz"),
                coverage=coverage,
            )
        )
        verdicts = [self.verdict(name, iteration, last=last) for name in self.conditions]
        keys = self.explore(iteration, verdicts, phase)
        selection = self.select(iteration, verdicts)
        made = [
            self.add_label(len(self.labels), iteration, frame.role, "exploration")
            for frame in selection.selected
        ]
        is_clean = all(v.is_clean for v in verdicts)
        n_failed = sum(d.status == "quarantined" for d in self.labels)
        n_holdout = sum(d.role == "holdout" and d.status == "done" for d in self.labels)
        doc = IterationDoc(
            key=f"iteration-{iteration}",
            iteration=iteration,
            created_at=WHEN.format(2 * iteration),
            phase=phase,
            model_key=model.key,
            model_sha256=model.model_sha256,
            active_set_key=f"as-{iteration}",
            exploration_keys=keys,
            selection_key=selection.key,
            label_keys=[d.key for d in made],
            n_labels_total=len(self.labels),
            n_labels_training=len(self.labels) - n_failed - n_holdout,
            n_labels_holdout=n_holdout,
            n_labels_failed=n_failed,
            n_atoms_labelled=32 * (len(self.labels) - n_failed),
            conditions=verdicts,
            coverage=coverage,
            training_errors=model.training_errors,
            new_label_errors=_errors(14 + 260 * np.exp(-0.8 * iteration), 6) if made else None,
            holdout_errors=_errors(15 + 110 * np.exp(-0.7 * iteration), 10) if iteration else None,
            calibration=self.calibration(iteration) if iteration else None,
            checks={
                "conditions_clean": n_clean >= 2,
                "new_label_errors": iteration > 3,
                "holdout_steady": iteration > 4,
                "rank_saturated": all(part.is_saturated for part in coverage),
                "confirmed": phase == "confirmation",
            },
            reasons=[] if is_clean else [v.reasons[0] for v in verdicts if not v.is_clean],
            is_clean=is_clean,
            n_clean_rounds=n_clean,
            is_ready_for_confirmation=n_clean >= 2,
            core_hours_total=0.01 * (iteration + 1),
            costs={
                "train": Cost(wall_s=6.0 + iteration, cpu_s=6.0 + iteration),
                "active set": Cost(wall_s=0.3, cpu_s=0.5),
                "explore": Cost(wall_s=7.5, cpu_s=14.6),
                "select": Cost(wall_s=0.6, cpu_s=0.9),
                "label": Cost(wall_s=1.2, cpu_s=2.1),
            },
        )
        self.iterations.append(doc)
        return doc


def _parity(dataset: str, n_frames: int, n_atoms: int, error: float, seed: int) -> ParityPoints:
    rng = np.random.default_rng(seed)
    scale = rng.choice([0.25, 0.6, 1.0], n_frames)
    forces = rng.normal(0, 1, (n_frames, n_atoms, 3)) * scale[:, None, None]
    noise = rng.normal(0, error, forces.shape) * (0.3 + scale[:, None, None])
    energies = -0.02 + 0.18 * scale + rng.normal(0, 0.01, n_frames)
    return ParityPoints(
        dataset=dataset,
        reference_energies=energies,
        predicted_energies=energies + rng.normal(0, 0.001, n_frames),
        reference_forces=forces.reshape(-1, 3),
        predicted_forces=(forces + noise).reshape(-1, 3),
    )


def _history(label: str, n_rows: int, seed: int) -> LossHistory:
    rng = np.random.default_rng(seed)
    steps = np.linspace(0, 6000, n_rows)
    decay = np.exp(-steps / 900)
    rows = {
        "step": steps,
        "energy_train": 0.0008 + 0.3 * decay * rng.uniform(0.9, 1.1, n_rows),
        "force_train": 0.008 + 0.9 * decay * rng.uniform(0.9, 1.1, n_rows),
        "virial_train": 0.004 + 0.4 * decay * rng.uniform(0.9, 1.1, n_rows),
        "force_test": 0.0092 + 0.9 * decay * rng.uniform(0.9, 1.1, n_rows),
    }
    return LossHistory(label, tuple(rows), np.column_stack(list(rows.values())))


def campaign_doc(name: str = "copper-quickstart", **changes: Any) -> CampaignDoc:
    """Return a campaign document."""
    values: dict[str, Any] = {
        "key": "copper-quickstart",
        "campaign_id": "copper-quickstart",
        "name": name,
        "created_at": WHEN.format(0),
        "settings": {
            "version": 1,
            "name": name,
            "seed": 20,
            "model": {"cutoff_radial_A": 5.0, "cutoff_angular_A": 4.0, "neurons": 20},
            "conditions": [{"name": c, "temperature_K": [300, 1500]} for c in CONDITIONS],
            "labeler": {"kind": "ase", "calculator": "emt"},
            "budget": {"labels": 80},
            "validation": {
                "limit_meV_per_A": 12.0,
                "runs": [{"name": "liquid 1500 K", "limit_meV_per_A": 20.0}],
            },
        },
        "identity": _sha("identity"),
        "fixed": {"labels": _sha("emt")},
        "structures": _blob("structures"),
        "structure_names": ["copper.poscar"],
        "versions": {"nepal_flows": "0.1.0", "numpy": "2.4.0", "python": "3.12.3"},
        "machine": {"cpu": "x86_64, 2 cores", "host": "workstation"},
    }
    return CampaignDoc(**{**values, **changes})


def _certificate(last: IterationDoc, model: TrainingDoc) -> Certificate:
    return Certificate(
        model_sha256=model.model_sha256,
        gamma_low=GAMMA_LOW,
        conditions=last.conditions,
        coverage=last.coverage,
        calibration=last.calibration,
        training_errors=model.training_errors,
        holdout_errors=model.holdout_errors,
        largest_error_called_safe_meV_per_A=140.0,
        not_covered=[
            "temperatures above 1500 K and pressures above 10 GPa",
            "surfaces, grain boundaries and clusters",
            "the error of the teacher itself (EMT)",
        ],
    )


def fake_data(
    *,
    elements: tuple[str, ...] = ("Cu",),
    conditions: tuple[str, ...] = CONDITIONS,
    n_iterations: int = 8,
    end_state: str | None = "converged",
    name: str = "copper-quickstart",
) -> ReportData:
    """Return a campaign that ended, or stands, after `n_iterations`."""
    fake = FakeCampaign(elements, conditions)
    fake.seed()
    n_clean = 0
    for iteration in range(n_iterations):
        is_last = iteration == n_iterations - 1
        phase = "confirmation" if is_last and end_state == "converged" else "loop"
        doc = fake.iterate(iteration, phase, last=n_iterations - 1, n_clean=n_clean)
        n_clean = n_clean + 1 if doc.is_clean else 0
    campaign = campaign_doc(name, end_state=end_state, n_iterations=n_iterations)
    data = ReportData(
        campaign=campaign,
        iterations=tuple(fake.iterations),
        models=tuple(fake.models),
        active_sets=tuple(fake.active_sets),
        explorations=tuple(fake.explorations),
        selections=tuple(fake.selections),
        labels=tuple(fake.labels),
        traces=tuple(t for t in fake.traces if t.iteration == n_iterations - 1),
        histories=(_history("iteration 0", 60, 1),) if n_iterations else (),
        generated_at="2026-03-04 10:20 UTC",
        nep_in="type 1 Cu\ncutoff 5 4\n",
    )
    return _finished(data, fake) if end_state == "converged" else data


def _finished(data: ReportData, fake: FakeCampaign) -> ReportData:
    final = fake.train(len(data.iterations), stage="final")
    last = data.iterations[-1].model_copy(
        update={"certificate": _certificate(data.iterations[-1], final)}
    )
    validation = ValidationDoc(
        key="validation",
        created_at=WHEN.format(20),
        model_sha256=final.model_sha256,
        seed=99,
        errors=_errors(9.1, 80, 108),
        errors_by_condition={
            condition: _errors(force, 20, 108)
            for condition, force in zip(VALIDATION_CONDITIONS, (3.1, 6.2, 10.4, 13.6), strict=True)
        },
        cost=Cost(wall_s=12.0, cpu_s=12.0),
    )
    campaign = data.campaign.model_copy(update={"final_model_key": final.key})
    return replace(
        data,
        campaign=campaign,
        iterations=(*data.iterations[:-1], last),
        models=tuple(fake.models),
        validations=(validation,),
        parity=(
            _parity("train", 52, 32, 0.008, 2),
            _parity("holdout", 10, 32, 0.009, 3),
            _parity("validation", 80, 108, 0.0095, 4),
        ),
        histories=(*data.histories, _history("final fit", 120, 5)),
    )


@pytest.fixture(scope="session")
def make_data() -> Callable[..., ReportData]:
    """Builder of made-up campaigns."""
    return fake_data


@pytest.fixture(scope="session")
def converged(make_data: Callable[..., ReportData]) -> ReportData:
    """A campaign of eight iterations that converged."""
    return make_data()


@pytest.fixture(scope="session")
def make_campaign() -> Callable[..., CampaignDoc]:
    """Builder of campaign documents."""
    return campaign_doc
