"""Settings of a deployment, with their defaults and bounds."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sidelane.model.history import MAX_RELEASE

MIN_SECRET = 32
"""Bytes of the setting `secret`: a shorter one may be guessed from a token that it signed."""


class Settings(BaseModel):
    """Every setting. Each is `SIDELANE_<NAME>` in the environment or `<name>` under `[tool.sidelane]`; durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # built when first used, not at import

    store: str = Field(
        "sqlite:///sidelane.db", description="URL of the store; a relative path starts at the project's root."
    )
    lane: str = Field("", description="Where commands find the lane: module:attribute, e.g. shop.lane:lane.")
    secret: str = Field(
        "", description="Signs tokens; at least 32 bytes. Empty: generated, and kept in the store (for development)."
    )
    lease_duration: float = Field(10.0, ge=0.3, le=3600, description="How long a silent worker keeps its jobs.")
    concurrency: int = Field(100, ge=1, le=10_000, description="Jobs one worker process runs at once.")
    timeout: float = Field(600.0, gt=0, description="How long an attempt may run, unless its task has its own timeout.")
    cancel_grace: float = Field(5.0, ge=0, description="How long a cancelled or timed-out attempt may clean up.")
    shutdown_timeout: float | None = Field(
        None,
        ge=0,
        description="How long a stopping worker waits for its jobs. Default: their longest timeout, at least 30 s.",
    )
    retention: float = Field(
        7 * 86_400.0, ge=0, description="How long a finished job is kept, unless its task has its own retention."
    )
    payload_limit: int = Field(
        1_048_576, ge=1024, description="Max. bytes of a call with its options and follow-ups, a result or an event."
    )
    file_storage: str = Field(
        "sidelane-files",
        description="Where files are stored: a folder (from the project's root), s3://bucket/prefix or gs://…",
    )
    files_url: str = Field(
        "/files",
        description="URL of the file routes, for files in a folder: https://api.example.com/files.",
    )
    jobs_url: str = Field("", description="URL of the job routes, for external workers: https://api.example.com/jobs.")
    allow_private_callbacks: bool = Field(
        False, description="Allow callbacks and dispatches to private, loopback and link-local addresses."
    )
    callback_hosts: str = Field(
        "", description="Hosts that callbacks may reach, separated by commas; empty: any public one."
    )
    callback_concurrency: int = Field(
        4, ge=1, le=400, description="Max. concurrent callbacks to one receiver, from all workers together."
    )
    alert_url: str = Field(
        "", description="Where alerts of findings are posted: a webhook, or one of Slack or Discord. Empty: nowhere."
    )
    alert_format: Literal["", "json", "slack", "discord"] = Field(
        "", description="json, slack or discord. Empty: by the host of alert_url."
    )
    alert_after: float = Field(60.0, ge=0, description="How long a finding must last until its alert is sent.")
    dashboard_password: str = Field("", description="With which operators sign in to `sidelane dashboard`.")
    dashboard_viewer_password: str = Field(
        "", description="With which people sign in to `sidelane dashboard` who may look, and change nothing."
    )
    sse_ping_interval: float = Field(15.0, gt=0, description="Idle time after which an event stream sends a comment.")
    release: str = Field(
        "",
        max_length=MAX_RELEASE,
        description="Which build of the service this process runs, e.g. the commit; shown with figures.",
    )
    traces: Literal["", "otlp", "langfuse"] = Field(
        "",
        description="otlp: record spans and send them over OTLP; OTEL_* variables say where. langfuse: send them to Langfuse; "
        "LANGFUSE_* variables say where. Empty: no traces.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Log level of workers."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of the logs of Sidelane's processes: text or json."
    )

    @field_validator("alert_url")
    @classmethod
    def _check_alert_url(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("the URL of a webhook begins with https:// or http://")
        return url

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: str) -> str:
        if secret and len(secret.encode()) < MIN_SECRET:
            raise ValueError(f"a secret has at least {MIN_SECRET} bytes; `openssl rand -base64 32` makes one")
        return secret
