-- Schema 4. Applied once, in one transaction, to an empty file.
--
-- What is updated at every step sits in the small rows of `jobs`; what never changes (`specs`) or may be big (`ends`, `events`,
-- `failures`) has tables of its own, so that a step rewrites little.

CREATE TABLE jobs (
    seq         INTEGER PRIMARY KEY,          -- the order of submission: a job's age; never used twice
    id          TEXT NOT NULL UNIQUE,
    task        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    queue       TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    user        TEXT NOT NULL,                -- '' for none
    key         TEXT,
    unique_key  TEXT,
    parent      TEXT,
    batch       TEXT,
    state       INTEGER NOT NULL,             -- -1 parked, 0 ready, 1 waiting for `due`, 2 running, 3 succeeded, 4 failed, 5 cancelled
    due         REAL NOT NULL,                -- state 1: not before; states 0 and -1: ready since
    wait        REAL,                         -- the duration that made `due`, if one did
    attempt     INTEGER NOT NULL DEFAULT 0,
    failures    INTEGER NOT NULL DEFAULT 0,
    losses      INTEGER NOT NULL DEFAULT 0,
    isolated    INTEGER NOT NULL DEFAULT 0,   -- 1: isolation workers run it, and no others
    ends        INTEGER NOT NULL DEFAULT 0,
    submitted   REAL NOT NULL,
    started     REAL,
    ended       REAL,
    give_up     REAL,                         -- while queued: failed when this passes
    deadline_at REAL,
    abandon_at  REAL,                         -- cancelled when this passes and nobody has listened
    keep        REAL NOT NULL,
    forget_at   REAL,
    follows     INTEGER NOT NULL DEFAULT 0,   -- what its follow-ups wait for: the sum of the flags in `following`
    limited     INTEGER NOT NULL DEFAULT 0,   -- what its limits ask for: the sum of the flags in `bonds`
    parked      TEXT,                         -- state -1: the limit it waits at; state 0: the limit it was woken from
    cascade     INTEGER NOT NULL DEFAULT 0,   -- 1: cancelled with its parent
    cancelling  INTEGER NOT NULL DEFAULT 0,
    worker      TEXT,                         -- state 2: null while it is handed over
    claim       TEXT,                         -- the request that claimed it
    place       INTEGER,                      -- its place in the answer to that request
    nonce       TEXT,
    settled     TEXT,                         -- the nonce of the last lease whose report counted
    expires     REAL,                         -- of its lease
    lease       REAL,                         -- the duration of its lease
    ordinal     INTEGER NOT NULL DEFAULT 0,   -- how many entries of this attempt the log has seen
    epoch       INTEGER NOT NULL DEFAULT 0,   -- of the newest stretch of its log
    last        INTEGER NOT NULL DEFAULT 0,   -- newest event; of a finished job the end, which has no row of its own
    progress    INTEGER                       -- number of the newest progress event
) STRICT;

-- What a claim asks before it takes a job is in the index, so that jobs it must pass by are not looked up one by one.
CREATE INDEX jobs_ready ON jobs (queue, isolated, priority, user, seq, task, version, give_up, limited) WHERE state = 0;
CREATE INDEX jobs_isolated ON jobs (queue, task, version) WHERE state = 0 AND isolated = 1;
CREATE INDEX jobs_parked ON jobs (parked, priority DESC, seq) WHERE state = -1;
CREATE INDEX jobs_parked_in ON jobs (queue, parked) WHERE state = -1;
CREATE INDEX jobs_woken ON jobs (parked) WHERE state = 0 AND parked IS NOT NULL;
CREATE INDEX jobs_due ON jobs (queue, due) WHERE state = 1;
CREATE INDEX jobs_running ON jobs (worker, claim) WHERE state = 2;
CREATE INDEX jobs_outside ON jobs (expires) WHERE state = 2 AND worker IS NULL;
CREATE UNIQUE INDEX jobs_unique ON jobs (user, unique_key) WHERE unique_key IS NOT NULL AND state < 3;
CREATE INDEX jobs_give_up ON jobs (give_up) WHERE state < 2 AND give_up IS NOT NULL;
CREATE INDEX jobs_abandon ON jobs (abandon_at) WHERE state < 3 AND abandon_at IS NOT NULL;
CREATE INDEX jobs_forget ON jobs (forget_at) WHERE state > 2;
CREATE INDEX jobs_failed ON jobs (seq) WHERE state = 4;
CREATE INDEX jobs_key ON jobs (key) WHERE key IS NOT NULL;
CREATE INDEX jobs_parent ON jobs (parent) WHERE parent IS NOT NULL;
CREATE INDEX jobs_cascade ON jobs (parent) WHERE cascade = 1 AND state < 3;
CREATE INDEX jobs_batch ON jobs (batch) WHERE batch IS NOT NULL;
CREATE INDEX jobs_user ON jobs (user) WHERE user <> '';

CREATE TABLE specs (
    seq           INTEGER PRIMARY KEY,
    arguments     TEXT NOT NULL,
    labels        TEXT,
    delay         REAL NOT NULL,
    run_at        REAL,
    start_within  REAL,
    deadline      REAL,
    losses        INTEGER NOT NULL,
    isolable      INTEGER NOT NULL,
    abandon_after REAL,
    trace         TEXT,
    follow_ups    TEXT,
    limits        TEXT,                         -- one a line
    max_queued    INTEGER,
    given         TEXT,
    remember      REAL NOT NULL
) STRICT;

CREATE TABLE ends (
    seq     INTEGER PRIMARY KEY,
    result  TEXT,
    problem TEXT
) STRICT;

CREATE TABLE failures (
    job       INTEGER NOT NULL,
    place     INTEGER NOT NULL,
    at        REAL NOT NULL,
    attempt   INTEGER NOT NULL,
    problem   TEXT NOT NULL,
    error     TEXT NOT NULL,
    traceback TEXT NOT NULL,
    PRIMARY KEY (job, place)
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

-- Logs of removed jobs that were too long to go in one step.
CREATE TABLE scraps (
    job INTEGER PRIMARY KEY
) STRICT;

-- Fair queuing. A user with ready jobs has a line: `tag` is the start tag of the job at its head. Without ready jobs the row
-- stays, with the finish tag of the user's last job, while that is above the clock of the queue and priority. Isolated jobs have
-- lines and clocks of their own.
CREATE TABLE lines (
    queue    TEXT NOT NULL,
    isolated INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    user     TEXT NOT NULL,
    tag      INTEGER NOT NULL,
    head     INTEGER,
    PRIMARY KEY (queue, isolated, priority, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX lines_order ON lines (queue, isolated, priority, tag, head) WHERE head IS NOT NULL;
CREATE INDEX lines_idle ON lines (queue, isolated, priority, tag) WHERE head IS NULL;

CREATE TABLE turns (
    queue    TEXT NOT NULL,
    isolated INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    clock    INTEGER NOT NULL,
    PRIMARY KEY (queue, isolated, priority)
) STRICT, WITHOUT ROWID;

CREATE TABLE queues (
    name   TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0,
    starts REAL NOT NULL DEFAULT 0,           -- of its jobs, those of the last minute or so: an exponentially decaying count
    paced  REAL NOT NULL DEFAULT 0            -- when that was counted
) STRICT, WITHOUT ROWID;

-- Who is in: a job has one slot of a limit, however many of its own limits share it.
CREATE TABLE slots (
    bound   TEXT NOT NULL,                    -- the id of the limit
    job     INTEGER NOT NULL,
    running INTEGER NOT NULL,                 -- 1: given back when the job leaves `running`; 0: at its end
    PRIMARY KEY (bound, job)
) STRICT, WITHOUT ROWID;

-- The unfinished jobs of limits that replace, which a newer one may stop. Those that were asked to stop are not among them.
CREATE TABLE replaceable (
    bound TEXT NOT NULL,
    job   INTEGER NOT NULL,
    PRIMARY KEY (bound, job)
) STRICT, WITHOUT ROWID;

-- Limits by time (GCRA), while anything of their burst is used up or any job is parked there.
CREATE TABLE rates (
    bound  TEXT PRIMARY KEY,
    most   INTEGER NOT NULL,
    window REAL NOT NULL,
    burst  INTEGER NOT NULL,
    tat    REAL NOT NULL,                     -- the theoretical arrival time: when all of the burst is free again
    wake   REAL                               -- when the next parked job is woken; null: none is parked
) STRICT, WITHOUT ROWID;
CREATE INDEX rates_wake ON rates (wake) WHERE wake IS NOT NULL;
CREATE INDEX rates_over ON rates (tat);

CREATE TABLE batches (
    id        TEXT PRIMARY KEY,
    spec      TEXT NOT NULL,
    keep      REAL NOT NULL,
    submitted REAL NOT NULL,
    sealed    INTEGER NOT NULL DEFAULT 0,
    total     INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    ends      INTEGER NOT NULL DEFAULT 0,
    ended     REAL,
    forget_at REAL                            -- null: sealed, and not ended
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_forget ON batches (forget_at) WHERE forget_at IS NOT NULL;

-- Cancelled jobs with children that are yet to be cancelled with them. What their end submitted is newer, and goes on.
CREATE TABLE cascades (
    parent TEXT PRIMARY KEY,
    newest INTEGER NOT NULL                   -- the last of these children
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    name       TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    enabled    INTEGER NOT NULL,
    last       REAL NOT NULL,
    next       REAL,                          -- null: disabled
    job        TEXT                           -- what its last firing submitted
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    id      TEXT PRIMARY KEY,
    info    TEXT,                             -- null until its first heartbeat
    expires REAL NOT NULL,                    -- by any renewal
    beaten  REAL,                             -- by the last heartbeat alone
    lease   REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- One count a topic, for other processes: raised once a transaction. Topics of jobs need none; their rows tell.
CREATE TABLE marks (
    topic TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gone (
    id    TEXT PRIMARY KEY,
    user  TEXT NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX gone_until ON gone (until);

CREATE TABLE remembered (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,                   -- swept: the sweep mark; patient: no lease is swept before; sequence: highest used
    value REAL NOT NULL
) STRICT, WITHOUT ROWID;
