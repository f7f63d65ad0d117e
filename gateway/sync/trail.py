"""Whether a list that is read page by page leads back to where it was.

A tool whose cursors come round again would be read for ever.  They are not all kept: one
of them is looked out for, and now and then a later one in its place, each time for twice
as many pages (R. P. Brent, "An improved Monte Carlo factorization algorithm", BIT 20,
1980).  So a circle is found after about three times as many pages as lie before it or in
it, whichever is more, and what is kept is small however long the list.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from gateway.connector.connector import ToolUnreadable


class Trail(NamedTuple):
    """The cursors that a reading has passed, as far as they are kept."""

    mark: str = ""
    """The digest of the one that is looked out for; "": none is yet."""
    pages: int = 0
    """Pages read since it was passed."""
    reach: int = 1
    """Pages after which a later one takes its place."""

    def on(self, cursor: str) -> Trail:
        """The trail with the cursor of the next page; raises ToolUnreadable: it was passed before.

        Taken for the end, it would make all that is not in the circle count as gone.
        """
        shown = blake2b(cursor.encode(errors="replace"), digest_size=16).hexdigest()
        if shown == self.mark:
            raise ToolUnreadable(
                "the tool says that its list goes on, and its cursors lead in a circle"
            )
        pages = self.pages + 1
        return (
            Trail(shown, 0, 2 * self.reach) if pages >= self.reach else self._replace(pages=pages)
        )
