"""Section on delivered force constants: parameters, anharmonicity, frequencies at rest."""

from nepal_flows.report.blocks import Block, Section, table
from nepal_flows.report.data import CrystalFacts, ReportData
from nepal_flows.report.words import whole


def force_constants(data: ReportData, facts: CrystalFacts) -> Section:
    """Return what force constants say of their crystal."""
    model = data.delivered_model
    parts = [] if model is None else model.coverage
    blocks: list[Block] = [
        table(
            "Parameters of every order, and how many of them the labels determine.",
            ("order", "parameters", "determined", "before last batch"),
            [
                [
                    part.element,
                    whole(part.n_projection),
                    whole(part.rank),
                    whole(part.rank_before_last_batch),
                ]
                for part in parts
            ],
            text_columns=("order",),
        ),
        table(
            "Anharmonicity of the labelled frames: the share of their forces that the second order "
            "misses; below 0.2 nearly harmonic, above 0.5 strongly anharmonic.",
            ("condition", "anharmonicity"),
            [[name, f"{value:.2f}"] for name, value in facts.anharmonicity.items()],
            text_columns=("condition",),
        ),
        table(
            "Frequencies at rest, THz; imaginary ones are negative. With temperature: "
            "`nepal export`, then `nepal force-constants` with `--temperature`.",
            ("point", "frequencies"),
            [
                [name, " ".join(f"{value:.2f}" for value in row)]
                for name, row in zip(facts.points, facts.frequencies_THz, strict=True)
            ],
            text_columns=("point", "frequencies"),
        ),
    ]
    return Section("force-constants", "Force constants", blocks)


__all__ = ["force_constants"]
