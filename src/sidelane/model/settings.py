"""Settings: everything a deployment may choose, each with its default and its bounds."""

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Every setting. Each is `SIDELANE_<NAME>` in the environment or `<name>` under `[tool.sidelane]`; durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # built when first used, not at import

    store: str = Field(
        "sqlite:///sidelane.db", description="Where jobs are kept; a relative path counts from the project's root."
    )
    lane: str = Field("", description="Where workers find the lane: module:attribute, for example shop.lane:lane.")
    secret: str = Field("", description="Signs tokens. Empty: one is made and kept in the store (for development).")
    lease_duration: float = Field(10.0, ge=0.3, le=3600, description="How long a silent worker keeps its jobs.")
    concurrency: int = Field(100, ge=1, le=10_000, description="Jobs one worker process runs at once.")
    timeout: float = Field(600.0, gt=0, description="How long an attempt may run where its task does not say.")
    cancel_grace: float = Field(5.0, ge=0, description="How long a cancelled or timed-out attempt may clean up.")
    shutdown_timeout: float = Field(
        30.0, ge=0, description="How long a stopping worker lets its jobs finish before it gives them back."
    )
    retention: float = Field(
        7 * 86_400.0, ge=0, description="How long a finished job is kept where its task does not say."
    )
    payload_limit: int = Field(
        1_048_576, ge=1024, description="Bytes of JSON a call's arguments, a result or an event may have."
    )
    file_storage: str = Field(
        "sidelane-files",
        description="Where files are kept: a folder (from the project's root), s3://bucket/prefix or gs://…",
    )
    files_url: str = Field(
        "/files",
        description="Where clients reach the routes of files that lie in a folder: https://api.example.com/files.",
    )
    jobs_url: str = Field(
        "", description="Where outside workers reach the routes of jobs: https://api.example.com/jobs."
    )
    allow_private_callbacks: bool = Field(
        False, description="Let callbacks and hand-overs reach private, loopback and link-local addresses."
    )
    callback_hosts: str = Field(
        "", description="The hosts that callbacks may reach, with commas in between; empty: any that is public."
    )
    callback_concurrency: int = Field(
        4, ge=1, le=400, description="How many callbacks one receiver gets at once, from all workers together."
    )
    sse_ping_interval: float = Field(15.0, gt=0, description="Silence after which an event stream sends a comment.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$", description="What workers log.")
