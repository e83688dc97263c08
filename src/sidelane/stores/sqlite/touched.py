"""What a transaction has changed: what someone may watch, and what has consequences within it."""

from dataclasses import dataclass, field

from sidelane.stores.contract import batch_topic, job_topic, queue_topic, worker_topic


@dataclass(slots=True)
class ChangeSet:
    """The jobs, batches, queues and workers whose topics the commit hints at, and what `settling` has to see to."""

    jobs: set[str] = field(default_factory=set)
    batches: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)
    freed: set[str] = field(default_factory=set)  # ids of limits that may have room for who is parked there
    parents: bool = False  # whether jobs were cancelled whose children are to be

    def counted(self) -> list[str]:
        """Give the topics that have a count in `marks`."""
        return [*map(queue_topic, self.queues), *map(worker_topic, self.workers)]

    def topics(self) -> list[str]:
        return [*map(job_topic, self.jobs), *map(batch_topic, self.batches), *self.counted()]
