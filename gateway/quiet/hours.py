"""Quiet hours: when text messages rest, and until when.

It is quiet where the recipient's wall clock says so: between two times of the day,
all of certain weekdays, all of public holidays.  A country with several time zones
is quiet while any of them is, since a mobile number tells the country only.

A country's state holds from one turn of a wall clock to the next, so it is reckoned
once and kept: asking again costs a microsecond.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from gateway.quiet import country

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)

# Ranges of numbers whose country is remembered: 2 MB at most, a list of one country's
# mobile numbers has some hundred.  Countries' states are bounded by the world.
_RANGES = 16_384

# How far the end of quiet days is looked for.  Nothing real comes near: it ends the
# search where settings leave a single weekday and each of those is a holiday.
_FAR = 400 * 24 * 3600 * 1000

# A winter's and a summer's day on which time zones are compared, far enough ahead for
# the rules in force now to be all that counts.  Fixed, so that which zones are
# looked at does not change between a quiet time's beginning and its end.
_SOLSTICES = (datetime(2035, 1, 15, 12, tzinfo=UTC), datetime(2035, 7, 15, 12, tzinfo=UTC))


@dataclass(slots=True, eq=False)
class _Place:
    """One or more regions, and what was last reckoned of them."""

    clocks: tuple[tuple[ZoneInfo, str | None], ...]  # the region whose holidays count there
    since: int = 0
    till: int = 0
    over: int | None = None  # of `since <= now < till`


class QuietHours:
    """When text messages rest, seen from the recipient's clock and calendar."""

    def __init__(
        self,
        begins: time,
        ends: time,
        *,
        days: Collection[int] = (),
        holidays: bool = True,
        time_zone: str = "Europe/Helsinki",
    ) -> None:
        """Quiet from ``begins`` to ``ends`` (the same: at no time), on ``days``, on holidays.

        ``begins`` may be the later one: then the night spans midnight.  ``days`` are
        weekdays, Monday 0.  ``time_zone`` is for numbers of no country.

        Raises:
            ValueError: times with a time zone, unknown weekdays, no weekday left to
                write on, or an unknown time zone.
        """
        from zoneinfo import ZoneInfo

        if begins.tzinfo is not None or ends.tzinfo is not None:
            raise ValueError("quiet hours are times on the recipient's clock: no time zone")
        if not set(days) < set(range(7)):
            raise ValueError("quiet days are weekdays from 0 (Monday) to 6, and never all seven")
        try:
            self._elsewhere = ZoneInfo(time_zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"{time_zone!r} is no time zone; write one such as Europe/Helsinki"
            ) from None
        self._begins = begins
        self._ends = ends
        self._days = frozenset(days)
        self._holidays = holidays
        self._places: dict[tuple[str, ...], _Place] = {}
        self._known: dict[str, _Place] = {}  # by the leading characters of numbers

    def until(self, number: str, now: int) -> int | None:
        """The moment when the quiet time of an E.164 number's holder is over.

        None when it is not quiet at ``now``.  Both are milliseconds since the epoch.
        Adjacent quiet times are one: from Christmas Eve it may last to 27.12. 08:00.
        """
        known = self._known
        place = known.get(number[:4]) or known.get(country.leading(number)) or self._find(number)
        if not place.since <= now < place.till:
            self._reckon(place, now)
        return place.over

    def _find(self, number: str) -> _Place:
        """The place of a number from a range not met before."""
        lead = country.leading(number)
        # From the range's first number, so that the order of asking changes nothing.
        regions = country.regions(lead)
        place = self._places.get(regions)
        if place is None:
            place = self._places[regions] = _Place(self._clocks(regions))
        if len(self._known) >= _RANGES:
            self._known.clear()
        self._known[number[:4] if len(country.sharing(number)) <= 1 else lead] = place
        return place

    def _clocks(self, regions: tuple[str, ...]) -> tuple[tuple[ZoneInfo, str | None], ...]:
        """The clocks that are looked at for numbers of these regions.

        Where it is always quiet somewhere (a long night from Guam to the Azores), the
        clocks that leave no hour of the day to the ones before them are passed over:
        a message must be able to go some time.
        """
        if not regions:
            return ((self._elsewhere, None),)
        awake = (
            _DAY
            - (
                datetime.combine(date.min + _DAY, self._ends)
                - datetime.combine(date.min + _DAY, self._begins)
            )
            % _DAY
        )
        taken: list[tuple[ZoneInfo, str | None]] = []
        for region in regions:
            for clock in country.clocks(region) or (self._elsewhere,):
                spread = _spread([clock, *(other for other, _ in taken)])
                if not spread or spread + _HOUR <= awake:
                    taken.append((clock, region))
        return tuple(taken)

    def _reckon(self, place: _Place, now: int) -> None:
        """Bring a place's state to ``now``."""
        over = now
        while over - now < _FAR:
            # Where it is quiet in one zone, later moments are asked of the others.
            later = max(self._over(clock, region, over) for clock, region in place.clocks)
            if later == over:
                break
            over = later
        place.since = now
        if over > now:
            place.over = place.till = over
        else:
            place.over = None
            place.till = min(self._turn(clock, now) for clock, _ in place.clocks)

    def _over(self, clock: ZoneInfo, region: str | None, moment: int) -> int:
        """The first moment from this one on that is not quiet by one clock."""
        end = moment + _FAR
        while moment < end and self._quiet(_local(clock, moment), region):
            moment = self._turn(clock, moment)
        return moment

    def _quiet(self, local: datetime, region: str | None) -> bool:
        wall = local.time()
        if self._begins <= self._ends:
            night = self._begins <= wall < self._ends
        else:
            night = wall >= self._begins or wall < self._ends
        return (
            night
            or local.weekday() in self._days
            or (
                self._holidays
                and region is not None
                and local.date() in country.public_holidays(region, local.year)
            )
        )

    def _turn(self, clock: ZoneInfo, moment: int) -> int:
        """The next moment at which a clock may show that quiet begins or ends."""
        local = _local(clock, moment)
        today = local.date()
        walls = (
            datetime.combine(today, self._begins, clock),
            datetime.combine(today, self._ends, clock),
            datetime.combine(today + _DAY, time.min, clock),
        )
        # A time that the clock shows twice in an autumn night counts twice; one that it
        # skips in spring gives two moments around the change, which is found below.
        turns = (_moment(wall.replace(fold=fold)) for wall in walls for fold in (0, 1))
        turn = min(later for later in turns if later > moment)
        offset = local.utcoffset()
        if _local(clock, turn).utcoffset() == offset:
            return turn
        # The clock is changed before then, and may have jumped over a turn or back
        # behind one: the change itself is the next moment to look at.
        before, after = moment, turn
        while after - before > 1:
            middle = (before + after) // 2
            if _local(clock, middle).utcoffset() == offset:
                before = middle
            else:
                after = middle
        return after


def _local(clock: ZoneInfo, moment: int) -> datetime:
    return (_EPOCH + moment * _MS).astimezone(clock)


def _moment(local: datetime) -> int:
    """The first whole millisecond that is not before a local time."""
    return -((_EPOCH - local) // _MS)


def _spread(clocks: Collection[ZoneInfo]) -> timedelta:
    """The most that clocks differ, in winter or in summer."""
    widest = timedelta(0)
    for day in _SOLSTICES:
        offsets = [day.astimezone(clock).utcoffset() or timedelta(0) for clock in clocks]
        widest = max(widest, max(offsets) - min(offsets))
    return widest
