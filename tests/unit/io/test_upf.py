"""Headers of both versions of UPF; zeros and radii are no suggestions."""

import pytest

from nepal_flows.errors import InputError
from nepal_flows.io.upf import UpfHeader, read_upf_header

VERSION_2 = """<UPF version="2.0.1"><PP_INFO> wfc_cutoff="9.9E1" </PP_INFO>
<PP_HEADER
generated='Generated using "atomic" code'
element="Cu"
pseudo_type="{kind}"
wfc_cutoff="{wfc}"
rho_cutoff="{rho}" />
<PP_MESH>"""
VERSION_1 = """<PP_INFO>
</PP_INFO>
<PP_HEADER>
   0                   Version Number
   C                   Element
   {kind}                  Ultrasoft pseudopotential
    4.00000000000      Z valence
   {wfc}  {rho} Suggested cutoff for wfc and rho
</PP_HEADER>
"""


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        (VERSION_2, ("PAW", "4.722276E+001", "1.88891E+002"), ("PAW", 47.22276, 188.891)),
        (VERSION_2, ("USPP", "2.3D1", "372.0"), ("ultrasoft", 23.0, 372.0)),
        (VERSION_2, ("NC", "0.000000000000e0", "0.0"), ("norm-conserving", None, None)),
        (VERSION_2, ("NC", "", "1.5270000E+01"), ("norm-conserving", None, None)),
        (VERSION_1, ("US", "27.0000000", "216.0000000"), ("ultrasoft", 27.0, 216.0)),
        (VERSION_1, ("NC", "0.0000000", "0.0000000"), ("norm-conserving", None, None)),
    ],
)
def test_header_is_read(tmp_path, text, values, expected):
    names = dict(zip(("kind", "wfc", "rho"), values, strict=True))
    (tmp_path / "x.UPF").write_text(text.format(**names))
    header = read_upf_header(tmp_path / "x.UPF")
    assert header == UpfHeader(expected[0], *expected[1:])


@pytest.mark.parametrize("text", ["", "nothing", "<PP_HEADER never ends"])
def test_file_without_header_is_refused(tmp_path, text):
    (tmp_path / "x.UPF").write_text(text)
    with pytest.raises(InputError, match=r"x\.UPF"):
        read_upf_header(tmp_path / "x.UPF")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_upf_header(tmp_path / "x.UPF")
