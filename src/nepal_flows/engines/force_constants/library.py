"""hiPhive and phonopy, which are optional: asked for when they are needed."""

# ruff: noqa: PLC0415

import logging
from types import SimpleNamespace
from typing import Any

import spglib.error

from nepal_flows.errors import InputError

spglib.error.OLD_ERROR_HANDLING = False  # failures are exceptions, as spglib advises


def hiphive() -> Any:
    """Return what is used of hiPhive.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        from hiphive import ClusterSpace, ForceConstantPotential
        from hiphive.calculators import ForceConstantCalculator
        from hiphive.cutoffs import estimate_maximum_cutoff
        from hiphive.force_constant_model import ForceConstantModel
        from hiphive.input_output.logging_tools import set_config
    except ImportError as error:
        raise InputError(_missing("hiphive", error)) from error
    set_config(level=logging.WARNING)  # it prints tables otherwise
    return SimpleNamespace(
        ClusterSpace=ClusterSpace,
        ForceConstantCalculator=ForceConstantCalculator,
        ForceConstantModel=ForceConstantModel,
        ForceConstantPotential=ForceConstantPotential,
        estimate_maximum_cutoff=estimate_maximum_cutoff,
    )


def phonopy() -> Any:
    """Return what is used of phonopy.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError as error:
        raise InputError(_missing("phonopy", error)) from error
    return SimpleNamespace(Phonopy=Phonopy, PhonopyAtoms=PhonopyAtoms)


def _missing(name: str, error: ImportError) -> str:
    return (
        f"Force constants need the package `{name}` ({error}). Install it: "
        "pip install 'nepal-flows[force-constants]'"
    )


__all__ = ["hiphive", "phonopy"]
