"""A statement for thousands of rows at once.

SQLAlchemy's own way of running one statement for many rows looks at every value of
every row; with a hundred thousand values a second that costs more than the database.
Here it compiles the statement once for its dialect, and the values go to the driver
as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Dialect, Insert, Select, Update, bindparam

Values = tuple[Any, ...]

_PORTION: Final = 250


class Bulk:
    """One statement and the names of the values it takes, in the order they are given."""

    def __init__(self, statement: Insert | Update | Select[Any], names: Sequence[str]) -> None:
        """Take the statement; every name is a column's or a bound parameter's.

        The values must be of the columns' Python types: nothing converts them.
        """
        self._statement = statement
        self._names = tuple(names)
        self._compiled: dict[str, tuple[str, tuple[int, ...] | None]] = {}

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Run the statement for every row; raises what the database does."""
        if rows:
            text, arranged = self.arranged(connection.dialect, rows)
            connection.exec_driver_sql(text, arranged)

    def arranged(
        self, dialect: Dialect, rows: Sequence[Values]
    ) -> tuple[str, list[Values] | list[dict[str, Any]]]:
        """The statement and the rows as the dialect's driver takes them."""
        text, order = self._for(dialect)
        if order is None:
            return text, [dict(zip(self._names, row, strict=True)) for row in rows]
        if order == tuple(range(len(self._names))):
            return text, list(rows)
        pick = itemgetter(*order)
        return text, [pick(row) for row in rows]

    def _for(self, dialect: Dialect) -> tuple[str, tuple[int, ...] | None]:
        """The statement's text, and which value stands at each place; None: by name."""
        key = f"{dialect.name}+{dialect.driver}"
        found = self._compiled.get(key)
        if found is None:
            compiled = self._statement.compile(dialect=dialect, column_keys=list(self._names))
            # Not part of what the base class of compiled statements declares.
            places: list[str] | None = getattr(compiled, "positiontup", None)
            order = None if places is None else tuple(map(self._names.index, places))
            found = self._compiled[key] = str(compiled), order
        return found


class Lookup:
    """A query for the rows whose column has one of thousands of values."""

    def __init__(self, query: Select[Any], column: ColumnElement[str]) -> None:
        """Take the query without that condition."""
        names = [f"v{n}" for n in range(_PORTION)]
        values = [bindparam(name, type_=column.type) for name in names]
        self._portion = Bulk(query.where(column.in_(values)), names)

    def rows(self, connection: Connection, values: Sequence[str]) -> list[Values]:
        """The rows, in no order; raises what the database does."""
        rows: list[Values] = []
        for at in range(0, len(values), _PORTION):
            portion = tuple(values[at : at + _PORTION])
            # Always as many, that the statement is always the same.
            portion += (portion[-1],) * (_PORTION - len(portion))
            text, (arranged,) = self._portion.arranged(connection.dialect, [portion])
            rows += [tuple(row) for row in connection.exec_driver_sql(text, arranged)]
        return rows
