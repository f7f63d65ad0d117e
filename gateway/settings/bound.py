"""What is asked of a setting beyond its type, for pydantic, which is not imported here.

The checks are made where a configuration is read.  A worker is handed settings that
have passed them, and does without the library: it would be a sixth of its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class Bound:
    """Bounds by pydantic's names (``ge``, ``le``, ``gt``, ``min_length``, ``pattern``)."""

    def __init__(self, **bounds: float | str) -> None:
        self._bounds = bounds

    def __get_pydantic_core_schema__(self, kind: object, of: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = {**of(kind), **self._bounds}
        return schema  # type: ignore[no-any-return]


class Checked:
    """A text put through a function that returns it as it is kept, or raises ValueError."""

    def __init__(self, check: Callable[[str], str]) -> None:
        self._check = check

    def __get_pydantic_core_schema__(self, kind: object, of: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core.core_schema import no_info_after_validator_function

        return no_info_after_validator_function(self._check, of(kind))
