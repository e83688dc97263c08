"""Fit: whether services fit on a machine, and otherwise which machine or how many would do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidelane.model.sentence import sentence
from sidelane.model.sizes import size_text
from sidelane.sizing.machines import Machine, smallest_that_fits
from sidelane.sizing.services import ServiceSize, Step, number, percent
from sidelane.sizing.slots import TARGET_UTILISATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether services fit on a machine. `steps` show it; `larger` and `count` are ways out if they do not."""

    machine: Machine
    services: Sequence[ServiceSize]

    @property
    def cores(self) -> float:
        """Cores that are busy on average."""
        return sum(each.cores for each in self.services)

    @property
    def memory(self) -> int:
        return sum(each.total_memory for each in self.services)

    @property
    def fits(self) -> bool:
        return self.machine.fits(self.cores, self.memory)

    def fits_alone(self, service: ServiceSize) -> bool:
        """Return whether one service fits if nothing else runs on the machine."""
        return self.machine.fits(service.cores, service.total_memory)

    @property
    def larger(self) -> Machine | None:
        """The smallest machine of the table on which the services fit."""
        return smallest_that_fits(self.cores, self.memory, like=self.machine.name)

    @property
    def count(self) -> int | None:
        """How many of this machine share the load, or None if not even one process fits on it."""
        machine = self.machine
        if any(each.memory > machine.usable_memory for each in self.services):
            return None
        return max(math.ceil(self.cores / machine.usable_cores), self._machines_for_memory())

    def _machines_for_memory(self) -> int:
        """Return how many machines have the memory if each is filled with the largest processes first."""
        left = [[each.memory, each.processes] for each in sorted(self.services, key=lambda each: -each.memory)]
        machines = 0
        while any(count for _, count in left):
            machines += 1
            free = self.machine.usable_memory
            for service in left:
                memory, count = service
                fitting = min(count, free // memory)
                free -= fitting * memory
                service[1] -= fitting
        return machines

    @property
    def on_credits(self) -> bool:
        """Whether the services fit only as long as a burstable machine has CPU credits."""
        machine = replace(self.machine, baseline=1.0)
        return not self.fits and machine.fits(self.cores, self.memory)

    @property
    def steps(self) -> list[Step]:
        """The lines that compare what is needed with what there is."""
        machine = self.machine
        burstable = machine.baseline < TARGET_UTILISATION
        share = percent(machine.usable_cores / machine.cores)
        usable, needed = number(machine.usable_cores), number(self.cores)
        memory, needed_memory = size_text(machine.usable_memory), size_text(self.memory)
        return [
            Step(
                sentence("{cores} cores x {share}", cores=f"{machine.cores:g}", share=share),
                sentence("{cores} cores may be busy, {needed} are needed", cores=usable, needed=needed),
                sentence("its baseline" if burstable else "the rest is for peaks"),
            ),
            Step(
                size_text(machine.memory) + (f" - {size_text(machine.system)}" if machine.system else ""),
                sentence("{size} may be used, {needed} are needed", size=memory, needed=needed_memory),
                sentence("the rest is for the system" if machine.system else "the limit of this container"),
            ),
        ]
