"""The page in a real browser: it draws, and the browser has nothing to complain about."""

import re
import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from nepal_flows.report import ReportData, write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed.")


def _chromium(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.fixture(scope="module")
def page(converged: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(converged, tmp_path_factory.mktemp("report") / "report.html")


def test_browser_holds_the_verdict_and_complains_of_nothing(page: Path, tmp_path: Path) -> None:
    done = _chromium(tmp_path, "--dump-dom", page.as_uri())
    assert ">Converged</p>" in done.stdout
    assert re.findall(r".*CONSOLE.*", done.stderr) == []


@pytest.mark.parametrize("width", [1280, 500])
def test_browser_draws_the_page(page: Path, tmp_path: Path, width: int) -> None:
    image = tmp_path / "page.png"
    _chromium(tmp_path, f"--window-size={width},1600", f"--screenshot={image}", page.as_uri())
    pixels = matplotlib.image.imread(image)
    assert pixels.shape[:2] == (1600, width)
    ground = np.round(pixels[..., :3].reshape(-1, 3), 2)
    share_of_commonest = np.unique(ground, axis=0, return_counts=True)[1].max() / len(ground)
    assert 0.3 < share_of_commonest < 0.97
