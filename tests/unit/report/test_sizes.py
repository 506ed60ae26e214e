"""Sections on the size of labels and on small forces."""

import dataclasses

from nepal_flows.report.sections.sizes import force_bias, sizes
from nepal_flows.schemas import Cost, ForceBiasPart, LabelSums, SlopePart


def slope(name: str, value: float, *, is_biased: bool = False) -> SlopePart:
    return SlopePart(
        name=name,
        n_atoms=90,
        mean_force_meV_per_A=400.0,
        slope=value,
        standard_error=0.004,
        is_biased=is_biased,
    )


def changed(data, **fields):
    last = data.iterations[-1].model_copy(update=fields)
    return dataclasses.replace(data, iterations=(*data.iterations[:-1], last))


def texts(section) -> str:
    parts = []
    for block in section.blocks:
        if hasattr(block, "rows"):
            parts += [getattr(cell, "text", cell) for row in block.rows for cell in row]
        else:
            parts.append(block.text)
    return " ".join(parts)


def test_sums_of_seeds_and_loop_are_shown(converged):
    sums = LabelSums(n_labels=24, n_atoms=168, n_atoms_squared=1200, n_atoms_cubed=8800)
    data = changed(
        converged,
        label_sums={"seeds": sums, "0": sums},
        label_costs={"seeds": Cost(cpu_s=48.0), "0": Cost(cpu_s=24.0)},
    )
    text = texts(sizes(data))
    assert "seeds" in text
    assert "loop" in text
    assert "8800" in text
    assert "2.0 s" in text


def test_rounds_before_the_field_wait_for_a_first_round(converged):
    assert sizes(changed(converged, label_sums={})).pending
    assert force_bias(changed(converged, force_bias=None)).pending


def test_a_biased_condition_is_named_with_what_to_do(converged):
    bias = ForceBiasPart(
        small_force_share=0.44,
        whole=slope("", 0.93, is_biased=True),
        by_condition=[slope("crystal", 1.0), slope("liquid", 0.77, is_biased=True)],
        by_magnitude=[slope("", 0.99)],
        tested_on="hold-out",
    )
    text = texts(force_bias(changed(converged, force_bias=bias)))
    assert "44 %" in text
    assert "Flagged: liquid" in text
    assert "0.770" in text
