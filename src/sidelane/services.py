"""Services that the parts of one lane share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sidelane.client.api_process import ApiProcess
from sidelane.client.client import Client
from sidelane.files.files import Files
from sidelane.model.errors import ConfigurationError, LaneNotOpen
from sidelane.model.settings import Settings
from sidelane.tasks.registry import Registry
from sidelane.telemetry.port import Telemetry
from sidelane.transports.factory import TransportPool


@dataclass(slots=True)
class Services:
    """The declarations of a lane, its settings and files, its transports and telemetry, and its client while the lane is open.

    `api_process` is what this process reports about itself if it serves an API.
    """

    settings: Settings
    registry: Registry = field(default_factory=Registry)
    telemetry: Telemetry = field(default_factory=Telemetry)
    transports: TransportPool = field(init=False)
    files: Files = field(init=False)
    api_process: ApiProcess = field(init=False)
    _client: Client | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.transports = TransportPool(self.telemetry)
        self.api_process = ApiProcess(self.settings, self.telemetry)
        self.files = Files(self.settings.file_storage, url=self.settings.files_url, client=lambda: self.client)

    @property
    def client(self) -> Client:
        """The client of the open store. Raises `LaneNotOpen`."""
        if self._client is None:
            raise LaneNotOpen
        return self._client

    @contextmanager
    def use(self, client: Client) -> Iterator[None]:
        """Use this client as the open client within the block.

        Raises `ConfigurationError` if the lane already has an open client.
        """
        if self._client is not None:
            raise ConfigurationError("This lane is already open in this process.")
        self._client = client
        try:
            yield
        finally:
            self._client = None
