"""Cutoffs below what pseudopotentials ask for are doubted, those that suffice are not."""

import pytest

from nepal_flows.campaign.dft import cutoff_doubts, suggested_plane_waves
from nepal_flows.io.upf import UpfHeader

PAW = UpfHeader("PAW", 47.2, 189.0)
SILENT = UpfHeader("ultrasoft", None, None)
SOFT = UpfHeader("norm-conserving", None, None)


@pytest.mark.parametrize(
    ("cutoffs", "header", "words"),
    [
        ((50.0, 400.0), PAW, None),
        ((50.0, None), PAW, None),  # 200 Ry, and the file asks for 189
        ((30.0, None), PAW, "`ecutwfc_Ry` is 30"),
        ((30.0, None), SILENT, "`ecutrho_Ry` is 120, the ultrasoft pseudopotential of Cu needs"),
        ((30.0, 240.0), SILENT, None),
        ((30.0, None), SOFT, None),
    ],
)
def test_doubts(cutoffs, header, words):
    doubts = cutoff_doubts(*cutoffs, {"Cu": header})
    assert (doubts == []) if words is None else (words in doubts[0])


def test_the_hardest_element_decides():
    waves = suggested_plane_waves(["Cu", "O", "Al"], {"Cu": PAW, "O": SILENT, "Al": SOFT})
    assert waves.ecutwfc == 50.0
    assert waves.ecutrho == 400.0
    assert waves.told == {"Cu": 47.2}
    assert waves.guessed == ("O", "Al")
