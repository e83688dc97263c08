"""Machines: cores and memory of the usual instances of AWS, and what a machine may use of them for long."""

from dataclasses import dataclass
from typing import Final

from sidelane.model.option_names import did_you_mean
from sidelane.model.sizes import BYTES
from sidelane.sizing.slots import TARGET_UTILISATION

CHECKED: Final = "2026-11"
"""Month in which the table was compared: t and m families with AWS's pages, c families with lists that others publish."""

SYSTEM_MEMORY: Final = 500_000_000
"""Bytes that the operating system and what belongs to it take. A container shares those of its host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine. `baseline` is the share of each core that it may use for long, and `system` the memory that is not for processes.

    A burstable instance (t3, t4g) saves credits while it uses less, and spends them while it uses more.
    """

    name: str
    cores: float
    memory: int  # bytes
    baseline: float = 1.0
    system: int = SYSTEM_MEMORY

    @property
    def family(self) -> str:
        """The part of the name before its size, e.g. "t3"."""
        return self.name.partition(".")[0]

    @property
    def usable_cores(self) -> float:
        """Cores that may be busy on average: a part is left for peaks, by the baseline or by the target utilisation."""
        return self.cores * min(self.baseline, TARGET_UTILISATION)

    @property
    def usable_memory(self) -> int:
        return self.memory - self.system

    def fits(self, cores: float, memory: float) -> bool:
        """Return whether processes fit that keep so many cores busy on average and take so many bytes."""
        return cores <= self.usable_cores and memory <= self.usable_memory


_BASELINES = {"nano": 0.05, "micro": 0.1, "small": 0.2, "medium": 0.2, "large": 0.3, "xlarge": 0.4, "2xlarge": 0.4}
_BURSTABLE = {"nano": (2, 0.5), "micro": (2, 1), "small": (2, 2), "medium": (2, 4), "large": (2, 8), "xlarge": (4, 16),
              "2xlarge": (8, 32)}  # fmt: skip
"""Cores and GiB of t3 and t4g by size, and the share of each core that is the baseline."""

_CORES = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64}
"""Cores by size of the families that are not burstable."""

_INTEL = {"m5": 4, "m6i": 4, "m7i": 4, "c6i": 2, "c7i": 2}
_GRAVITON = {"m6g": 4, "m7g": 4, "m8g": 4, "c6g": 2, "c7g": 2, "c8g": 2}
"""GiB per core of the families. Graviton has a medium size too, with one core."""


def _table() -> dict[str, Machine]:
    found = [
        Machine(name=f"{family}.{size}", cores=cores, memory=int(gib * BYTES["GIB"]), baseline=_BASELINES[size])
        for family in ("t3", "t4g")
        for size, (cores, gib) in _BURSTABLE.items()
    ]
    for family, gib in {**_INTEL, **_GRAVITON}.items():
        sizes = {"medium": 1, **_CORES} if family in _GRAVITON else _CORES
        found += [
            Machine(name=f"{family}.{size}", cores=cores, memory=cores * gib * BYTES["GIB"])
            for size, cores in sizes.items()
        ]
    return {machine.name: machine for machine in found}


MACHINES: Final = _table()


def machine_named(name: str) -> Machine:
    """Return a machine of the table. Raises ValueError for an unknown one, with the name that resembles it."""
    machine = MACHINES.get(name.strip().lower())
    if machine is None:
        families = ", ".join(dict.fromkeys(each.family for each in MACHINES.values()))
        hint = did_you_mean(name.strip().lower(), MACHINES, "")
        if not hint.startswith("did"):
            hint = f"the families are {families}."
        raise ValueError(f"{name!r} is no machine of the table: {hint} For another one, give --cores and --memory.")
    return machine


def smallest_that_fits(cores: float, memory: float, *, like: str = "") -> Machine | None:
    """Return the smallest machine on which a load fits: of the family of the machine `like`, else of m7 and c7, or None."""
    family = like.partition(".")[0]
    others = ("m7g", "c7g") if family.endswith("g") else ("m7i", "c7i")
    fitting = [each for each in MACHINES.values() if each.fits(cores, memory)]
    of_family = [each for each in fitting if each.family == family]
    return min(
        of_family or [each for each in fitting if each.family in others],
        key=lambda each: (each.cores, each.memory),
        default=None,
    )
