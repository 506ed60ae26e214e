"""Compiled kernels are found again by the content of the numerics."""

import os
import time

import pytest

from nepal_flows.engines import kernel_cache


@pytest.fixture
def numerics(tmp_path, monkeypatch):
    folder = tmp_path / "core"
    folder.mkdir()
    (folder / "one.py").write_text("x = 1\n")
    monkeypatch.setattr(kernel_cache, "_NUMERICS", folder)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernel_cache, "sys", type("NoNumba", (), {"modules": {}, "version": "3"}))
    yield folder
    os.environ.pop("NUMBA_CACHE_DIR", None)


def test_a_changed_file_means_another_folder(numerics, tmp_path):
    first = kernel_cache.use_kernel_cache(tmp_path / "cache")
    del os.environ["NUMBA_CACHE_DIR"]
    (numerics / "one.py").write_text("x = 2\n")
    second = kernel_cache.use_kernel_cache(tmp_path / "cache")
    assert first != second
    assert os.environ["NUMBA_CACHE_DIR"] == str(second)


def test_a_folder_that_a_person_chose_stays(numerics, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert kernel_cache.use_kernel_cache(tmp_path / "cache") == tmp_path


def test_only_caches_unused_for_weeks_are_removed(numerics, tmp_path):
    base = tmp_path / "cache"
    for name, age in (("old", 30 * 86400.0), ("young", 86400.0)):
        (base / name).mkdir(parents=True)
        then = time.time() - age
        os.utime(base / name, (then, then))
    used = kernel_cache.use_kernel_cache(base)
    assert {path.name for path in base.iterdir()} == {"young", used.name}
