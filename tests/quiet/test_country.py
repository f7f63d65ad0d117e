"""What is known of numbers, held against the libraries."""

import random
from datetime import date
from zoneinfo import TZPATH

import holidays
import phonenumbers
import pytest

from gateway.quiet import country

_SHARED = {
    code: regions
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
    if len(regions) > 1
}
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


def _e164(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@pytest.mark.parametrize("kind", ["MOBILE", "FIXED_LINE", "TOLL_FREE", "VOIP"])
def test_example_numbers_are_of_their_region(kind):
    """The leading characters settle it, for each region and kind of number."""
    for region in REGIONS:
        example = phonenumbers.example_number_for_type(
            region, getattr(phonenumbers.PhoneNumberType, kind)
        )
        if example is not None:
            number = _e164(example)
            known = phonenumbers.region_code_for_number(example)
            assert country.regions(number) == (known,), number
            assert country.regions(country.leading(number)) == (known,), number


@pytest.mark.parametrize("code", sorted(_SHARED))
def test_numbers_of_a_shared_country_code_are_of_the_librarys_region(code):
    rand = random.Random(code)
    found = differing = 0
    for _ in range(2000):
        number = f"+{code}" + "".join(rand.choices("0123456789", k=10 if code in (1, 7, 44) else 9))
        try:
            parsed = phonenumbers.parse(number)
        except phonenumbers.NumberParseException:
            continue
        if _e164(parsed) != number:  # a trunk prefix: not how the gateway writes it
            continue
        region = phonenumbers.region_code_for_number(parsed)
        assert country.regions(number) == ((region,) if region else _SHARED[code])
        assert country.sharing(number) == _SHARED[code]
        if region is not None:
            found += 1
            differing += country.regions(country.leading(number)) != (region,)
    assert found > 20
    assert differing <= found // 500  # sub-ranges of single digits in the +1 5xx ranges


def test_every_region_has_a_clock():
    assert [region for region in REGIONS if not country.clocks(region)] == []
    assert country.clocks("ZZ") == ()


def test_every_country_of_the_library_has_a_calendar_or_none_but_no_failure():
    known = holidays.list_supported_countries()
    without = [region for region in REGIONS if not country.public_holidays(region, 2026)]
    assert {"FI", "SE", "NO", "DK", "EE", "DE", "US", "GB", "RU"}.isdisjoint(without)
    assert len(without) < 10
    assert known.keys() >= {"FI", "AX"}
    assert country.public_holidays("ZZ", 2026) == frozenset()
    assert country.public_holidays("FI", 1) == frozenset()


def test_no_country_rests_so_long_that_the_search_would_give_up():
    for region in REGIONS:
        assert len(country.public_holidays(region, 2026)) < 60, region


def test_a_fault_in_one_countrys_calendar_is_a_day_without_holidays(monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(holidays, "country_holidays", broken)
    country.public_holidays.cache_clear()
    assert country.public_holidays("FI", 2026) == frozenset()
    country.public_holidays.cache_clear()


def test_finlands_calendar():
    assert date(2026, 12, 6) in country.public_holidays("FI", 2026)
    assert date(2026, 6, 19) in country.public_holidays("FI", 2026)
    assert all(day.year == 2022 for day in country.public_holidays("US", 2022))


def test_without_a_table_of_zones_no_region_has_a_clock(monkeypatch, tmp_path):
    monkeypatch.setattr("zoneinfo.TZPATH", (str(tmp_path),))
    monkeypatch.setattr("importlib.resources.files", _no_package)
    country._zone_names.cache_clear()
    assert country.clocks("FI") == ()
    monkeypatch.undo()
    country._zone_names.cache_clear()
    assert len(country.clocks("FI")) == 1


def _no_package(name):
    raise ModuleNotFoundError(name)


def test_the_package_of_the_database_does_where_the_system_has_none(monkeypatch, tmp_path):
    (tmp_path / "zoneinfo").mkdir()
    (tmp_path / "zoneinfo" / "zone.tab").write_text(
        "# a comment\nFI\t+6010+02458\tEurope/Helsinki\nXX\t+0000+00000\tEurope/Nowhere\ta note\n"
    )
    monkeypatch.setattr("importlib.resources.files", lambda name: tmp_path)
    monkeypatch.setattr("zoneinfo.TZPATH", ("/nonexistent",))
    country._zone_names.cache_clear()
    table = country._zone_names()
    assert table == {"FI": ("Europe/Helsinki",), "XX": ("Europe/Nowhere",)}
    # Taken up again: the zones themselves were always the system's.
    monkeypatch.setattr("zoneinfo.TZPATH", TZPATH)
    assert [clock.key for clock in country.clocks("FI")] == ["Europe/Helsinki"]
    assert country.clocks("XX") == ()
    monkeypatch.undo()
    country._zone_names.cache_clear()
