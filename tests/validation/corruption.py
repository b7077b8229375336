"""The register of corruptions: what is done to a sound log, and what the gate must say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Damage = Callable[[Path], None]


@dataclass(frozen=True)
class Corruption:
    """One way in which a log goes wrong.

    `stops`, `warns`: the alarm that must be raised with that severity, its sentence holding every text of `says`.
    `check` of `table`: the reason of the rows in quarantine, `rows` of them if given. `harmless`: why nothing happens:
    the gate stays open, no alarm stops and no row is lost.
    """

    name: str
    damage: Damage
    stops: str = ""
    warns: str = ""
    says: tuple[str, ...] = ()
    table: str = ""
    check: str = ""
    rows: int | None = None
    harmless: str = ""


REGISTER: list[Corruption] = []


def corruption(
    *,
    stops: str = "",
    warns: str = "",
    says: tuple[str, ...] = (),
    quarantine: tuple[str, str] | tuple[str, str, int] | tuple[()] = (),
    harmless: str = "",
) -> Callable[[Damage], Damage]:
    """Registers the decorated function, which damages the log at a path; its name is the corruption's."""

    def register(damage: Damage) -> Damage:
        table, check, *rows = quarantine or ("", "")
        name = damage.__name__
        assert all(item.name != name for item in REGISTER), name
        REGISTER.append(Corruption(name, damage, stops, warns, says, table, check, rows[0] if rows else None, harmless))
        return damage

    return register
