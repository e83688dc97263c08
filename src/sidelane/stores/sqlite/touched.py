"""What a transaction has changed that someone may watch."""

from dataclasses import dataclass, field

from sidelane.stores.contract import batch_topic, job_topic, queue_topic, worker_topic


@dataclass(slots=True)
class Touched:
    """The jobs, batches, queues and workers whose topics the commit hints at."""

    jobs: set[str] = field(default_factory=set)
    batches: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)

    def counted(self) -> list[str]:
        """Give the topics that have a count in `marks`."""
        return [*map(queue_topic, self.queues), *map(worker_topic, self.workers)]

    def topics(self) -> list[str]:
        return [*map(job_topic, self.jobs), *map(batch_topic, self.batches), *self.counted()]
