-- Schema 11. Applied once, in one transaction, to an empty file.
--
-- Columns that change with every step are in the small rows of `jobs`. Columns that never change (`specs`) or may be large (`results`,
-- `events`, `failures`) have separate tables, so that a step rewrites little. Times are seconds since 1970, durations seconds.

CREATE TABLE jobs (
    seq              INTEGER PRIMARY KEY,     -- the order of submission; never used twice
    id               TEXT NOT NULL UNIQUE,
    task             TEXT NOT NULL,
    version          INTEGER NOT NULL,
    queue            TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    user             TEXT NOT NULL,           -- '' for none
    key              TEXT,
    unique_key       TEXT,
    parent           TEXT,
    batch            TEXT,
    state            INTEGER NOT NULL,        -- -2 paused, -1 blocked, 0 ready, 1 delayed until `due`, 2 running, 3 succeeded,
                                              -- 4 failed, 5 cancelled
    due              REAL NOT NULL,           -- state 1: not before; states 0 and less: ready since
    delay            REAL,                    -- the duration that `due` was computed from, if any
    attempt          INTEGER NOT NULL DEFAULT 0,
    failures         INTEGER NOT NULL DEFAULT 0,
    worker_losses    INTEGER NOT NULL DEFAULT 0,
    isolated         INTEGER NOT NULL DEFAULT 0,   -- 1: only isolation workers run it
    ends             INTEGER NOT NULL DEFAULT 0,   -- how often it has finished
    submitted        REAL NOT NULL,
    started          REAL,
    ended            REAL,
    expires_at       REAL,                    -- while queued: failed at this time
    deadline_at      REAL,
    abandon_at       REAL,                    -- cancelled at this time unless a client listens before
    retention        REAL NOT NULL,
    remove_at        REAL,
    follow_up_flags  INTEGER NOT NULL DEFAULT 0,   -- which follow-up jobs it has: flags of `follow_ups`
    limit_flags      INTEGER NOT NULL DEFAULT 0,   -- when its limits apply: flags of `limits`
    blocked_by       TEXT,                    -- state -1: the limit it waits for; state 0: the limit it was unblocked from
    cascade          INTEGER NOT NULL DEFAULT 0,   -- 1: cancelled with its parent
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    worker           TEXT,                    -- state 2: null for an external job; states 3 to 5: that of the attempt that ended it
    claim_request    TEXT,                    -- the request that claimed it
    claim_position   INTEGER,                 -- its position in the answer to that request
    nonce            TEXT,                    -- of its lease
    finished_nonce   TEXT,                    -- of the last lease that was finished by its worker
    lease_expires    REAL,
    lease_duration   REAL,
    ordinal          INTEGER NOT NULL DEFAULT 0,   -- how many events of this attempt are in the log
    logged           INTEGER NOT NULL DEFAULT 0,   -- how many of these are log records
    epoch            INTEGER NOT NULL DEFAULT 0,   -- of the newest part of its log
    last             INTEGER NOT NULL DEFAULT 0,   -- number of the newest event; the end event of a finished job has no row
    progress         INTEGER,                 -- number of the newest progress event
    log_space        INTEGER,                 -- bytes that its log may still grow by; null: the log is truncated
    series           INTEGER NOT NULL,        -- that its next end is counted in: of its newest attempt, else of its submission
    first_event      REAL,                    -- times of the first and last events of its newest attempt
    last_event       REAL,
    blocked_at       REAL,                    -- state -1: since when it waits for the limit; state -2: for its paused batch
    release          TEXT NOT NULL DEFAULT '', -- of the worker of its newest attempt
    transitions      TEXT NOT NULL DEFAULT '', -- as `model.transition` reads them; the newest attempt's start is not among them
    input_tokens     INTEGER NOT NULL DEFAULT 0,   -- what its attempts used
    output_tokens    INTEGER NOT NULL DEFAULT 0,
    cost_micros      INTEGER NOT NULL DEFAULT 0    -- millionths of the currency's unit
) STRICT;

-- A claim filters by columns of the index, so that it does not look up the jobs it skips.
CREATE INDEX jobs_ready ON jobs (queue, isolated, priority, user, seq, task, version, expires_at, limit_flags) WHERE state = 0;
CREATE INDEX jobs_isolated ON jobs (queue, task, version) WHERE state = 0 AND isolated = 1;
CREATE INDEX jobs_blocked ON jobs (blocked_by, priority DESC, seq) WHERE state = -1;
CREATE INDEX jobs_blocked_in_queue ON jobs (queue, blocked_by) WHERE state = -1;
CREATE INDEX jobs_paused ON jobs (batch, priority DESC, seq) WHERE state = -2;
CREATE INDEX jobs_paused_in_queue ON jobs (queue) WHERE state = -2;
CREATE INDEX jobs_unblocked ON jobs (blocked_by) WHERE state = 0 AND blocked_by IS NOT NULL;
CREATE INDEX jobs_due ON jobs (queue, due) WHERE state = 1;
CREATE INDEX jobs_running ON jobs (worker, claim_request) WHERE state = 2;
CREATE INDEX jobs_external ON jobs (lease_expires) WHERE state = 2 AND worker IS NULL;
CREATE UNIQUE INDEX jobs_unique ON jobs (user, unique_key) WHERE unique_key IS NOT NULL AND state < 3;
CREATE INDEX jobs_expires ON jobs (expires_at) WHERE state < 2 AND expires_at IS NOT NULL;
CREATE INDEX jobs_abandon ON jobs (abandon_at) WHERE state < 3 AND abandon_at IS NOT NULL;
CREATE INDEX jobs_remove ON jobs (remove_at) WHERE state > 2;
CREATE INDEX jobs_failed ON jobs (seq) WHERE state = 4;
CREATE INDEX jobs_key ON jobs (key) WHERE key IS NOT NULL;
CREATE INDEX jobs_user_key ON jobs (user, key) WHERE key IS NOT NULL AND user <> '';
CREATE INDEX jobs_parent ON jobs (parent) WHERE parent IS NOT NULL;
CREATE INDEX jobs_cascade ON jobs (parent) WHERE cascade = 1 AND state < 3;
CREATE INDEX jobs_batch ON jobs (batch) WHERE batch IS NOT NULL;
CREATE INDEX jobs_user ON jobs (user) WHERE user <> '';

CREATE TABLE specs (
    seq               INTEGER PRIMARY KEY,
    arguments         TEXT NOT NULL,
    labels            TEXT,
    delay             REAL NOT NULL,
    run_at            REAL,
    expires_in        REAL,
    deadline          REAL,
    max_worker_losses INTEGER NOT NULL,
    isolable          INTEGER NOT NULL,
    abandon_after     REAL,
    trace             TEXT,
    follow_ups        TEXT,
    limits            TEXT,                   -- one per line
    max_queued        INTEGER,
    placeholders      TEXT,
    id_retention      REAL NOT NULL,
    max_log_size      INTEGER NOT NULL
) STRICT;

CREATE TABLE results (
    seq     INTEGER PRIMARY KEY,
    result  TEXT,
    problem TEXT
) STRICT;

CREATE TABLE failures (
    job       INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    at        REAL NOT NULL,
    attempt   INTEGER NOT NULL,
    problem   TEXT NOT NULL,
    error     TEXT NOT NULL,
    traceback TEXT NOT NULL,
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    job    INTEGER NOT NULL,
    number INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    at     REAL NOT NULL,
    name   TEXT NOT NULL,
    data   TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- Logs of removed jobs that were too long to be deleted in one step.
CREATE TABLE orphaned_logs (
    job INTEGER PRIMARY KEY
) STRICT;

-- Fair queuing. A user with ready jobs has a row; `start_tag` is that of the oldest of them, `head`. Without ready jobs the row remains,
-- with the finish tag of the user's last job, while that is above the virtual clock. Isolated jobs have user queues and clocks of
-- their own.
CREATE TABLE user_queues (
    queue     TEXT NOT NULL,
    isolated  INTEGER NOT NULL,
    priority  INTEGER NOT NULL,
    user      TEXT NOT NULL,
    start_tag INTEGER NOT NULL,
    head      INTEGER,
    since     REAL NOT NULL,                  -- when this head became the head
    PRIMARY KEY (queue, isolated, priority, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_queues_order ON user_queues (queue, isolated, priority, start_tag, head) WHERE head IS NOT NULL;
CREATE INDEX user_queues_idle ON user_queues (queue, isolated, priority, start_tag) WHERE head IS NULL;

CREATE TABLE virtual_clocks (
    queue    TEXT NOT NULL,
    isolated INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    clock    INTEGER NOT NULL,
    PRIMARY KEY (queue, isolated, priority)
) STRICT, WITHOUT ROWID;

CREATE TABLE queues (
    name       TEXT PRIMARY KEY,
    paused     INTEGER NOT NULL DEFAULT 0,
    paused_at  REAL NOT NULL DEFAULT 0,       -- when its last pause began
    resumed    REAL NOT NULL DEFAULT 0,       -- and ended
    starts     REAL NOT NULL DEFAULT 0,       -- recent starts of its jobs, an exponentially decaying count
    counted_at REAL NOT NULL DEFAULT 0        -- when `starts` was updated
) STRICT, WITHOUT ROWID;

-- Slots of concurrency limits. A job has one slot of a limit, even if several of its limits have the same id.
CREATE TABLE slots (
    limit_id      TEXT NOT NULL,
    job           INTEGER NOT NULL,
    while_running INTEGER NOT NULL,           -- 1: released when the job stops running; 0: when it finishes
    PRIMARY KEY (limit_id, job)
) STRICT, WITHOUT ROWID;

-- Unfinished jobs of limits with on_limit="replace", which a newer job may cancel, except those that were already asked to stop.
CREATE TABLE replaceable_jobs (
    limit_id TEXT NOT NULL,
    job      INTEGER NOT NULL,
    PRIMARY KEY (limit_id, job)
) STRICT, WITHOUT ROWID;

-- Rate limits (GCRA) while a part of their burst is used up or a job waits for them.
CREATE TABLE rates (
    limit_id   TEXT PRIMARY KEY,
    per_window INTEGER NOT NULL,
    window     REAL NOT NULL,
    burst      INTEGER NOT NULL,
    span       REAL NOT NULL,                 -- seconds of a whole burst by the numbers in force at the last use
    tat        REAL NOT NULL,                 -- the theoretical arrival time: when the whole burst is available again
    unblock_at REAL                           -- when the next job that waits for it is unblocked; null: no job waits
) STRICT, WITHOUT ROWID;
CREATE INDEX rates_unblock ON rates (unblock_at) WHERE unblock_at IS NOT NULL;
CREATE INDEX rates_tat ON rates (tat);

-- Numbers that an operator has set in place of those that the jobs of a limit declare.
CREATE TABLE limit_overrides (
    id     TEXT PRIMARY KEY,                  -- the name, or the id of one limit
    name   TEXT NOT NULL,
    key    TEXT,                              -- null: all keys
    max    INTEGER NOT NULL,
    per    REAL,                              -- the window of a rate; null: slots
    burst  INTEGER NOT NULL,
    since  REAL NOT NULL,
    until  REAL,
    by     TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Ranges of limits whose numbers have changed, until those with blocked jobs are checked for capacity.
CREATE TABLE limit_checks (
    last TEXT PRIMARY KEY,                    -- the last id of the range
    next TEXT NOT NULL                        -- the first that is not checked
) STRICT, WITHOUT ROWID;

CREATE TABLE batches (
    id        TEXT PRIMARY KEY,
    spec      TEXT NOT NULL,
    retention REAL NOT NULL,
    submitted REAL NOT NULL,
    sealed    INTEGER NOT NULL DEFAULT 0,
    total     INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    ends      INTEGER NOT NULL DEFAULT 0,
    ended     REAL,
    remove_at REAL,                           -- null: sealed and unfinished
    paused    INTEGER                         -- 1: its jobs do not start; 0: it was resumed, and some jobs are still paused
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_paused ON batches (paused) WHERE paused IS NOT NULL;
CREATE INDEX batches_remove ON batches (remove_at) WHERE remove_at IS NOT NULL;

-- Cancelled jobs with children to cancel. Follow-up jobs of the cancellation are newer and are not cancelled.
CREATE TABLE cascades (
    parent       TEXT PRIMARY KEY,
    newest_child INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    name       TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    enabled    INTEGER NOT NULL,
    last       REAL NOT NULL,
    next       REAL,                          -- null: disabled
    last_job   TEXT                           -- the last job it submitted
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    id                TEXT PRIMARY KEY,
    info              TEXT,                   -- null until its first heartbeat
    expires           REAL NOT NULL,          -- extended by claims and heartbeats
    heartbeat_expires REAL,                   -- extended by heartbeats only
    lease_duration    REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shared_values (
    name    TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    changed REAL NOT NULL,
    text    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE journals (
    id     INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    last   INTEGER NOT NULL DEFAULT 0,        -- number of the newest entry
    oldest INTEGER NOT NULL DEFAULT 1         -- number of the oldest that readers see; older ones may still have rows
) STRICT;

CREATE TABLE journal_entries (
    journal INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    at      REAL NOT NULL,
    text    TEXT NOT NULL,
    PRIMARY KEY (journal, number)
) STRICT, WITHOUT ROWID;

-- Changes of values and appends to journals that counted lately, in case they are repeated.
CREATE TABLE shared_requests (
    id    TEXT PRIMARY KEY,
    at    REAL NOT NULL,
    first INTEGER NOT NULL                    -- number of the first entry that it appended; 0 for a change of a value
) STRICT, WITHOUT ROWID;
CREATE INDEX shared_requests_at ON shared_requests (at);

-- Series of history. Ids are never used twice, because rows of jobs have them.
CREATE TABLE history_series (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    queue   TEXT NOT NULL,
    task    TEXT NOT NULL,
    release TEXT NOT NULL,
    seen    REAL NOT NULL,                    -- when it was counted last, to the minute
    UNIQUE (queue, task, release)
) STRICT;
CREATE INDEX history_series_seen ON history_series (seen);

-- Cells of the present minute, and of past ones until a sweep rolls them up. `counts` is a JSON list of fields and amounts in turn.
CREATE TABLE history_open (
    at     INTEGER NOT NULL,
    series INTEGER NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (at, series)
) STRICT, WITHOUT ROWID;

-- Cells of past minutes, ten minutes and hours. The step 0 has the totals.
CREATE TABLE history_cells (
    step   INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    series INTEGER NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (step, at, series)
) STRICT, WITHOUT ROWID;

-- Amounts of users by hour; of past hours those of the top users only.
CREATE TABLE history_users (
    at     INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    user   TEXT NOT NULL,
    total  INTEGER NOT NULL,
    PRIMARY KEY (at, amount, user)
) STRICT, WITHOUT ROWID;

-- Change counters of queues and workers, for other processes: incremented once per transaction. Jobs, batches and values have versions
-- in their rows.
CREATE TABLE topic_versions (
    topic   TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Removed jobs.
CREATE TABLE tombstones (
    id         TEXT PRIMARY KEY,
    user       TEXT NOT NULL,
    expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstones_expires ON tombstones (expires_at);

CREATE TABLE kv (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,                   -- last_sweep, no_expiry_before (no lease is swept earlier), max_seq (highest ever used)
    value REAL NOT NULL
) STRICT, WITHOUT ROWID;
