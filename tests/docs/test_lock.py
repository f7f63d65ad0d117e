"""The lock files are what a fresh machine installs from, with every hash checked."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def _locked(lock: str) -> dict[str, set[str]]:
    """Each locked package and the extras it is locked with."""
    lines = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[(.*)\])?==", (ROOT / lock).read_text(), re.MULTILINE
    )
    return {canonicalize_name(name): set(filter(None, extras.split(","))) for name, extras in lines}


def _asked(name: str, extras: set[str]) -> list[Requirement]:
    """What a package asks for, with these extras of its own."""
    try:
        requires = [Requirement(one) for one in distribution(name).requires or []]
    except PackageNotFoundError:  # of another system or another version of Python
        return []
    return [
        one
        for one in requires
        if "extra ==" not in str(one.marker)
        or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]


@pytest.mark.parametrize("lock", LOCKS)
def test_an_extra_that_a_locked_package_asks_for_is_locked_with_it(lock):
    """pip 23.2 checks no hash behind any other extra once a newer release is out."""
    locked = _locked(lock)
    asking = [
        (name, str(one))
        for name, extras in locked.items()
        for one in _asked(name, extras)
        if not one.extras <= locked.get(canonicalize_name(one.name), set())
    ]
    assert asking == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_to_fetch_from(lock):
    assert not re.search(
        r"https?://|file://|--(extra-)?index-url|--find-links", (ROOT / lock).read_text()
    )
