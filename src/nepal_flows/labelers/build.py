"""The labeler that a campaign file asks for, on this site."""

from collections.abc import Sequence
from typing import TypeVar, assert_never

from nepal_flows.campaign.labels import (
    AseLabels,
    Cp2kLabels,
    DftLabels,
    EspressoLabels,
    KPoints,
    Labels,
    VaspLabels,
)
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CampaignError
from nepal_flows.labelers.ase_calculator import AseLabeler
from nepal_flows.labelers.cp2k import Cp2kLabeler
from nepal_flows.labelers.electrons import Electrons
from nepal_flows.labelers.espresso import EspressoLabeler
from nepal_flows.labelers.gates import LabelGate
from nepal_flows.labelers.kpoints import KPointRule
from nepal_flows.labelers.protocol import Labeler
from nepal_flows.labelers.vasp import VaspLabeler
from nepal_flows.settings import Settings, settings_file

DEFAULT_NET_FORCE = {"ase": 0.01, "espresso": 0.01, "cp2k": 0.005, "vasp": 0.01}
"""Largest net force of each code where the campaign file gives none, eV/Å."""

_DEFAULTS = (None, "pw.x", "cp2k.psmp")
"""Commands that leave it to the site."""

_WITH_SHELL = frozenset({"lammpslib", "lammpsrun"})
"""Calculators of ASE whose arguments are a language with a command that starts programs."""

CommandT = TypeVar("CommandT", str, str | None)


def build_labeler(
    labels: Labels,
    *,
    primitive: Structure,
    elements: Sequence[str],
    settings: Settings,
) -> Labeler:
    """Return the labeler of a campaign.

    Parameters
    ----------
    labels
        The labels section of the campaign file.
    primitive
        The first starting structure, of which all cells are multiples (k-points ``folded``).
    elements
        Chemical symbols of the campaign.
    settings
        Where programs and their data are on this site, and which a campaign file may name.

    Raises
    ------
    CampaignError
        If the calculator does not exist, or it or a command is not one that this site allows.
    """
    net_force = labels.max_net_force_eV_per_A or DEFAULT_NET_FORCE[labels.code]
    if isinstance(labels, AseLabels):
        _require_allowed(labels, settings)
        return AseLabeler(labels.calculator, dict(labels.arguments), max_net_force=net_force)
    if isinstance(labels, EspressoLabels):
        return EspressoLabeler(
            kpoints=_rule(labels.kpoints, primitive),
            pseudopotentials=dict(labels.pseudopotentials),
            pseudo_directory=_text(labels.pseudo_dir or settings.pseudo_directory),
            ecutwfc_Ry=labels.ecutwfc_Ry,
            ecutrho_Ry=labels.ecutrho_Ry,
            smearing_temperature_K=labels.smearing_temperature_K,
            conv_thr_Ry=labels.conv_thr_Ry,
            mixing_beta=labels.mixing_beta,
            electrons=_electrons(labels),
            input_data={name: dict(entries) for name, entries in labels.input_data.items()},
            command=_command(labels.command, settings.pw_command, settings),
            max_net_force=net_force,
        )
    if isinstance(labels, Cp2kLabels):
        return Cp2kLabeler(
            kpoints=_rule(labels.kpoints, primitive),
            basis=dict(labels.basis),
            potentials=dict(labels.potentials),
            basis_file=labels.basis_file,
            potential_file=labels.potential_file,
            cutoff_Ry=labels.cutoff_Ry,
            rel_cutoff_Ry=labels.rel_cutoff_Ry,
            smearing_temperature_K=labels.smearing_temperature_K,
            eps_scf=labels.eps_scf,
            max_scf=labels.max_scf,
            electrons=_electrons(labels),
            elements=tuple(sorted(elements)),
            command=_command(labels.command, settings.cp2k_command, settings),
            data_directory=_text(settings.cp2k_data_directory),
            max_net_force=net_force,
        )
    if isinstance(labels, VaspLabels):
        return VaspLabeler(
            kpoints=_rule(labels.kpoints, primitive),
            elements=tuple(sorted(elements)),
            input_set=labels.input_set,
            functional=labels.functional,
            encut_eV=labels.encut_eV,
            ediff_eV=labels.ediff_eV,
            smearing_temperature_K=labels.smearing_temperature_K,
            electrons=_electrons(labels),
            user_incar_settings=dict(labels.user_incar_settings),
            user_potcar_settings=dict(labels.user_potcar_settings),
            user_potcar_functional=labels.user_potcar_functional,
            command=_command(labels.command, settings.vasp_command, settings),
            gamma_command=_command(labels.gamma_command, settings.vasp_gamma_command, settings),
            potcar_spec=settings.vasp_potcar_spec,
            max_net_force=net_force,
        )
    assert_never(labels)


def build_gate(labels: Labels) -> LabelGate:
    """Return the limits that labels of a campaign must keep."""
    return LabelGate(
        max_net_force=labels.max_net_force_eV_per_A or DEFAULT_NET_FORCE[labels.code],
        max_force=labels.max_force_eV_per_A,
    )


def _require_allowed(labels: AseLabels, settings: Settings) -> None:
    """Raise unless a calculator is ASE's, or the site allows its import path.

    A campaign file may come from somebody else: importing what it names would run their code.
    """
    name = labels.calculator
    module, colon, _ = name.partition(":")
    if not colon:
        command = next((key for key in labels.arguments if "command" in key.lower()), None)
        if command is not None:
            raise CampaignError(
                f"`labels.arguments` gives a `{command}`, which a campaign file must not. Say it "
                "where ASE looks for it on this machine: its configuration file, or the "
                "environment."
            )
        if name.lower() not in _WITH_SHELL:
            return
    packages = [module.rsplit(".", n)[0] for n in range(module.count(".") + 1)]
    if not {name, *packages} & set(settings.calculators):
        raise CampaignError(
            f"`labels.calculator` is `{name}`: a campaign file may not import code that this site "
            f"has not allowed. If you trust it, write `calculators: [{name}]` into "
            f"{settings_file()} of every machine that labels."
        )


def _electrons(labels: DftLabels) -> Electrons:
    moments = labels.magnetic_moments_uB
    return Electrons(
        magnetic_moments_uB=None if moments is None else dict(moments),
        hubbard_U_eV=dict(labels.hubbard_U_eV),
        dispersion=labels.dispersion,
        charge_e=labels.charge_e,
    )


def _rule(kpoints: KPoints, primitive: Structure) -> KPointRule:
    if kpoints.mode == "folded":
        return KPointRule.folded(primitive, grid=kpoints.grid, offset=kpoints.offset)
    return KPointRule("spacing", offset=kpoints.offset, spacing=kpoints.spacing_per_A)


def _command(given: str | None, site: CommandT, settings: Settings) -> str | CommandT:
    """Return the command of a code: what the site says, or the campaign file if the site allows it.

    A campaign file may come from somebody else: what it names would be run.
    """
    if given in _DEFAULTS or given == site:
        return site
    if given not in settings.commands:
        raise CampaignError(
            f"`labels` gives the command `{given}`: a campaign file may not run a program that "
            "this site has not allowed. Leave it out and say it for the site (`pw_command`, "
            f"`cp2k_command`, `vasp_command`), or write `commands: ['{given}']`, both in "
            f"{settings_file()} of every machine that labels."
        )
    return given


def _text(path: object) -> str | None:
    return None if path is None else str(path)


__all__ = ["DEFAULT_NET_FORCE", "build_gate", "build_labeler"]
