"""From an atomate2 Maker, powerups and all, to the labels section of a campaign."""

from typing import Any

from nepal_flows.campaign.labels import VaspLabels
from nepal_flows.errors import CampaignError

_IGNORED = ("user_kpoints_settings", "vdw", "constrain_total_magmom", "files_to_transfer")
"""Settings of an input set that the campaign file says in its own words, or does not know."""


def labels_of_maker(maker: Any, **keys: Any) -> VaspLabels:
    """Return a labels section that computes what an atomate2 Maker of static runs would.

    Its input set, ``user_incar_settings`` and POTCARs are taken over; k-points, spin, DFT+U,
    dispersion and charge are the campaign's, since they must hold for cells of every size.

    Parameters
    ----------
    maker
        An atomate2 ``StaticMaker``, say after ``update_user_incar_settings``.
    **keys
        Further keys of the labels section, which win.

    Raises
    ------
    CampaignError
        If the Maker asks for something that the section cannot say.

    Examples
    --------
    >>> from atomate2.vasp.jobs.core import StaticMaker
    >>> from atomate2.vasp.powerups import update_user_incar_settings
    >>> maker = update_user_incar_settings(StaticMaker(), {"ENCUT": 600})
    >>> labels_of_maker(maker).user_incar_settings
    {'ENCUT': 600}
    """
    generator = maker.input_set_generator
    asked = [name for name in _IGNORED if getattr(generator, name, None)]
    if asked or getattr(maker, "copy_vasp_kwargs", None):
        raise CampaignError(
            f"The Maker `{maker.name}` sets {', '.join(asked) or 'copy_vasp_kwargs'}, which labels "
            "cannot take over. Give `labels.kpoints`, `labels.dispersion` and the like instead."
        )
    command = dict(maker.run_vasp_kwargs).get("vasp_cmd")
    taken = {
        "code": "vasp",
        "input_set": type(generator).__name__,
        "functional": None,
        "encut_eV": None,
        "user_incar_settings": dict(generator.user_incar_settings),
        "user_potcar_settings": dict(generator.user_potcar_settings or {}),
        "user_potcar_functional": generator.user_potcar_functional,
        **({} if command is None else {"command": command}),
    }
    return VaspLabels(**(taken | keys))


__all__ = ["labels_of_maker"]
