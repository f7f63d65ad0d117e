"""The lock files are what a fresh machine installs from, with every hash checked."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def _locked(lock: str) -> list[str]:
    return re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / lock).read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_no_locked_package_asks_for_another_by_an_extra(lock):
    """pip checks no hash behind an extra once a newer release of that package is out."""
    asking = []
    for name in _locked(lock):
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:  # of another system or another version of Python
            continue
        asking += [
            (name, one)
            for one in requires
            if "[" in one.partition(";")[0] and "extra ==" not in one
        ]
    assert asking == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_to_fetch_from(lock):
    assert not re.search(
        r"https?://|file://|--(extra-)?index-url|--find-links", (ROOT / lock).read_text()
    )
