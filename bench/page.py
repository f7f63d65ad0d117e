"""The page ``docs/benchmarks.md``: prose by hand above the mark, figures below it.

Each section of the figures stands between marks of its own, so that a run of some
sections leaves the others as they are.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
MARK = "<!-- everything below is written by make bench -->"

TITLES = {
    "machine": "",
    "aims": "Aims",
    "table": "Side by side",
    "sms": "Text messages",
    "latency": "Added latency at low load",
    "pause": "Longest pause of the event loop",
    "memory": "Memory",
    "lookups": "Look-ups in the register",
    "scale": "Large registers",
    "instructions": "Instructions a message",
    "profile": "Where the time goes",
}
"""The sections in their order, with their headings."""


def write(sections: dict[str, list[str]]) -> None:
    """Put these sections into the page; those it does not name stay."""
    prose, _, figures = PAGE.read_text(encoding="utf-8").partition(MARK)
    texts = {name: _between(figures, name) for name in TITLES}
    for name, lines in sections.items():
        texts[name] = "\n".join(lines)
    parts = [f"{prose}{MARK}"]
    for name, title in TITLES.items():
        if texts[name]:
            heading = f"## {title}\n\n" if title else ""
            parts.append(f"<!-- {name} -->\n{heading}{texts[name]}\n<!-- end of {name} -->")
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _between(figures: str, name: str) -> str:
    text = figures.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0]
    if TITLES[name] and text:
        text = text.partition("\n\n")[2]
    return text
