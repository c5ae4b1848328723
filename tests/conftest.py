"""Test configuration: the shapes in facejax's signatures are checked while the tests run; warnings are errors."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

hook = install_import_hook("facejax", "checker.check")
hook.__enter__()

import jax  # noqa: E402

SHARED = Path(os.environ.get("FACEJAX_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data kept beside the checkout; the tests that use it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}: set FACEJAX_SHARED to the folder that holds data/")
    return SHARED


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
