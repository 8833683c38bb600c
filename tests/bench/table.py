"""The table that the benchmarks print: what was measured, the floor beside it, and the target."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line; `ok` is None for a line without a target."""

    what: str
    measured: str = ""
    floor: str = ""
    ratio: str = ""
    target: str = ""
    ok: bool | None = None


def compared(
    what: str,
    value: float,
    floor: float,
    target: float,
    *,
    unit: str,
    more_is_better: bool = False,
    floor_name: str = "",
) -> Row:
    """Make the line of a figure that is judged by its ratio to the floor."""
    ratio = value / floor
    ok = ratio >= target if more_is_better else ratio <= target
    sign = ">=" if more_is_better else "<="
    return Row(
        what,
        amount(value, unit),
        f"{amount(floor, unit)} {floor_name}".rstrip(),
        f"{ratio:.2f}",
        f"{sign} {target} x",
        ok,
    )


def limited(what: str, value: float, limit: float, *, unit: str) -> Row:
    """Make the line of a figure that has a fixed limit."""
    return Row(what, amount(value, unit), target=f"<= {limit:g} {unit}", ok=value <= limit)


def amount(value: float, unit: str) -> str:
    """Write a figure with as many digits as mean something."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def show(title: str, rows: Iterable[Row]) -> str:
    """Write the table as text."""
    words = {True: "ok", False: "short", None: ""}
    cells = [("", "measured", "floor", "ratio", "target", "")]
    cells += [(r.what, r.measured, r.floor, r.ratio, r.target, words[r.ok]) for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([title, "", lines[0], rule, *lines[1:]])
