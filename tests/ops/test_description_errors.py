"""Errors of descriptions have the file, the line and the key."""

import re
from pathlib import Path

import pytest

from sidelane import ConfigurationError
from sidelane.ops.description import load_description
from tests.ops.descriptions import error_of

API = '[api.a]\napp = "m:a"\n'
WORKER = '[worker.w]\nlane = "m:l"\n'
NOT_NONE = "the least is 1 process, because without one nothing tells what the group serves"
WITHIN = "remove `processes`, or write a number within these bounds."
NAME_RULE = "use 1 to 40 letters, digits, - and _, with no - or _ in front."
REMOVE = "Remove one of these dependencies."
COMMAND = '[command.c]\nrun = "c"\n'

ERRORS = {
    "an unknown key": (
        f"{WORKER}concurency = 3",
        "line 3, [worker.w] `concurency`: there is no such key; did you mean `concurrency`?",
    ),
    "a key of another supervisor": (
        f"{WORKER}numprocs = 3",
        "line 3, [worker.w] `numprocs`: there is no such key; did you mean `processes`?",
    ),
    "a key without likeness": (
        f"{API}ready = {{ xyz = 1, delay = 2 }}\n[command.c]\nrun = 'c'\nready = {{ qqqqq = 1, delay = 2 }}",
        "line 6, [command.c] `ready.qqqqq`: there is no such key; the keys here are delay, http, log, tcp, timeout.",
    ),
    "an unknown kind": (
        f"{API}\n[workers.chat]\n",
        "line 4, `workers`: there is no such key; did you mean `worker`?",
    ),
    "a group without a name": (
        '[api]\napp = "main:app"\n',
        "line 1, [api]: each group is a table with a name: write [api.NAME] above the keys of a group.",
    ),
    "an array of tables": (
        f'{API}[[worker]]\nname = "chat"\n',
        "line 3, [worker]: each group is a table with a name: write [worker.NAME] above the keys of a group.",
    ),
    "a missing key": (
        "[api.a]\nport = 80",
        'line 1, [api.a] `app`: this key is required, e.g. app = "main:app".',
    ),
    "a text for a number": (f'{API}port = "80"', 'line 3, [api.a] `port`: this must be a whole number, not "80".'),
    "a fraction for a number": (f"{API}port = 80.5", "line 3, [api.a] `port`: this must be a whole number, not 80.5."),
    "a boolean for a number": (f"{API}processes = true", "line 3, [api.a] `processes`: this must be a whole number, not true."),
    "a boolean for seconds": (f"{API}stop_timeout = true", "line 3, [api.a] `stop_timeout`: this must be a number, not true."),
    "a text for a list": (f'{API}depends_on = "x"', 'line 3, [api.a] `depends_on`: this must be a list, not "x".'),
    "a text for a boolean": (f'{API}autostart = "no"', 'line 3, [api.a] `autostart`: this must be true or false, not "no".'),
    "a number for a variable": (
        f"environment.KEY = 5\n{API}",
        "line 1, `environment.KEY`: this must be a text in quotes.",
    ),
    "a name of a variable": (
        f'{API}[api.a.environment]\n"A B" = "1"',
        "line 4, [api.a] `environment.A B`: a name of a variable has letters, digits and _, and no digit in front.",
    ),
    "too few processes": (f"{WORKER}processes = 0", "line 3, [worker.w] `processes`: this must be at least 1, not 0."),
    "a port that is too high": (f"{API}port = 70000", "line 3, [api.a] `port`: this must be at most 65535, not 70000."),
    "an unknown pool": (
        f'{API}pool = "light"',
        "line 3, [api.a] `pool`: this must be 'general' or 'heavy', not \"light\".",
    ),
    "a path for a module": (
        '[api.a]\napp = "shop/main.py"',
        "line 2, [api.a] `app`: 'shop/main.py': write module:attribute, with dots and without .py, e.g. shop.main:app.",
    ),
    "infinite seconds": (
        f"{API}ready_timeout = inf",
        "line 3, [api.a] `ready_timeout`: this must be a finite number, not Infinity.",
    ),
    "negative seconds": (f"{API}stop_timeout = -1", "line 3, [api.a] `stop_timeout`: this must be at least 0, not -1."),
    "an unreadable duration": (
        f'{WORKER}max_lifetime = "soon"',
        "line 3, [worker.w] `max_lifetime`: 'soon': write a duration, e.g. 90s, 15min, 2h or 3d.",
    ),
    "no lifetime": (
        f"{WORKER}max_lifetime = 0",
        "line 3, [worker.w] `max_lifetime`: '0s' is no time at all: write a duration, e.g. 90s, 15min, 2h or 3d.",
    ),
    "a size without a unit": (
        f"{WORKER}max_memory = 500",
        'line 3, [worker.w] `max_memory`: 500 has no unit: write a size in quotes, e.g. "500MB" or "2GiB".',
    ),
    "an unreadable size": (
        f'{WORKER}max_memory = "much"',
        "line 3, [worker.w] `max_memory`: 'much': write a size, e.g. 500MB or 2GiB.",
    ),
    "an invalid queue": (
        f'{WORKER}queues = ["a", "b=0"]',
        "line 3, [worker.w] `queues`: 'b=0': write a queue as \"name\" or \"name=slots\", e.g. \"email=2\".",
    ),
    "a queue twice": (f'{WORKER}queues = ["a", "a=2"]', "line 3, [worker.w] `queues`: queue 'a' is there more than once."),
    "no queues": (
        f"{WORKER}queues = []",
        "line 3, [worker.w] `queues`: there is no queue in the list: remove the key to serve all queues.",
    ),
    "an empty command": (
        '[command.c]\nrun = ""',
        'line 2, [command.c] `run`: there is no program to run: write e.g. run = "python -m shop.model --port 8080".',
    ),
    "an empty list of arguments": (
        "[command.c]\nrun = []",
        'line 2, [command.c] `run`: there is no program to run: write e.g. run = "python -m shop.model --port 8080".',
    ),
    "an open quote": (
        """[command.c]\nrun = "echo 'a" """,
        "line 2, [command.c] `run`: \"echo 'a\" has no end: No closing quotation. Write a list if quotes belong to the text.",
    ),
    "two checks": (
        f'{COMMAND}ready = {{ log = "up", delay = 2 }}',
        "line 3, [command.c] `ready`: there are several checks (log, delay): keep one of them.",
    ),
    "no check": (
        f"{COMMAND}ready = {{ timeout = 2 }}",
        'line 3, [command.c] `ready`: there is no check: write e.g. ready = { http = "http://127.0.0.1:8080/health" }.',
    ),
    "a URL without a host": (
        f'{COMMAND}ready = {{ http = "127.0.0.1:8080" }}',
        "line 3, [command.c] `ready.http`: '127.0.0.1:8080' is no URL: write e.g. http://127.0.0.1:8080/health.",
    ),
    "an address without a port": (
        f'{COMMAND}ready = {{ tcp = "127.0.0.1" }}',
        "line 3, [command.c] `ready.tcp`: '127.0.0.1': write host:port, e.g. 127.0.0.1:8080.",
    ),
    "two timeouts": (
        f"{COMMAND}ready_timeout = 3\nready = {{ delay = 1, timeout = 2 }}",
        "line 1, [command.c]: `ready.timeout` and `ready_timeout` are the same: keep one of them.",
    ),
    "a command that shall not stop first": (
        f"{COMMAND}stop_first = false",
        "line 1, [command.c]: `stop_first` is always true for a command: remove it.",
    ),
    "no group": (
        "# nothing yet\n",
        'line 1: there is no group; the smallest description is [api.web] with app = "main:app" below it.',
    ),
    "an invalid name": (
        '[worker."chat bot"]\nlane = "m:l"',
        f"line 1, [worker.\"chat bot\"]: 'chat bot' is no name of a group: {NAME_RULE}",
    ),
    "a name that looks like an option": (
        '[worker.-x]\nlane = "m:l"',
        f"line 1, [worker.-x]: '-x' is no name of a group: {NAME_RULE}",
    ),
    "a name twice": (
        '[worker.chat]\nlane = "m:l"\n[api.chat]\napp = "m:a"',
        "line 3, [api.chat]: there is a group 'chat' already, [worker.chat] on line 1; rename one.",
    ),
    "an unknown dependency": (
        f'{COMMAND}[command.model]\nrun = "m"\n{API}depends_on = ["modle"]',
        "line 7, [api.a] `depends_on`: there is no group 'modle'; did you mean `model`?",
    ),
    "a dependency without likeness": (
        f'{COMMAND}{API}depends_on = ["redis"]',
        "line 5, [api.a] `depends_on`: there is no group 'redis'; the groups are a, c.",
    ),
    "a cycle": (
        f'{COMMAND}depends_on = ["a"]\n{API}depends_on = ["w"]\n{WORKER}depends_on = ["c"]',
        f"line 6, [api.a] `depends_on`: the groups wait for each other, so that none can start: a → w → c → a. {REMOVE}",
    ),
    "a group that depends on itself": (
        f'{API}depends_on = ["a"]',
        f"line 3, [api.a] `depends_on`: the groups wait for each other, so that none can start: a → a. {REMOVE}",
    ),
    "a port twice by default": (
        f'{API}[api.b]\napp = "m:b"',
        "line 3, [api.b] `port`: port 8000 is that of [api.a] too (`port`, line 1); choose another.",
    ),
    "a port on all addresses": (
        f'{API}[api.b]\napp = "m:b"\nhost = "0.0.0.0"\nport = 8000',
        "line 6, [api.b] `port`: port 8000 is that of [api.a] too (`port`, line 1); choose another.",
    ),
    "a health port that is taken": (
        f"{WORKER}health_port = 8080\n{COMMAND}ready.tcp = 'localhost:8080'",
        "line 6, [command.c] `ready`: port 8080 is that of [worker.w] too (`health_port`, line 3); choose another.",
    ),
    "a metrics port that is taken": (
        f"{WORKER}health_port = 8080\nmetrics_port = 8080",
        "line 4, [worker.w] `metrics_port`: port 8080 is that of [worker.w] too (`health_port`, line 3); choose another.",
    ),
    "an unknown option of uvicorn": (
        f"{API}options = {{ timeout_keepalive = 5 }}",
        "line 3, [api.a] `options.timeout_keepalive`: uvicorn has no such option; did you mean `timeout_keep_alive`?",
    ),
    "an option of uvicorn that Sidelane sets": (
        f"{API}[api.a.options]\nlifespan = 'on'\nworkers = 2",
        "line 5, [api.a] `options.workers`: this option of uvicorn cannot be set here: write `processes` in the group.",
    ),
    "an option that no command line can have": (
        f"{API}options.headers = {{}}",
        "line 3, [api.a] `options.headers`: an option is a text, a number, true or false, or a list.",
    ),
    "autoscaling of an API group": (
        f'{API}autoscale = "1..8"',
        "line 3, [api.a] `autoscale`: only worker groups are autoscaled; remove this key.",
    ),
    "bounds in the wrong order": (
        f'{WORKER}autoscale = "8..1"',
        "line 3, [worker.w] `autoscale`: '8..1': the least is more than the most; write 1..8.",
    ),
    "bounds that allow no process": (
        f'{WORKER}autoscale = "0..4"',
        f"line 3, [worker.w] `autoscale`: '0..4': {NOT_NONE}; write 1..4.",
    ),
    "a number of processes outside of the bounds": (
        f'{WORKER}processes = 12\nautoscale = "1..8"',
        f"line 1, [worker.w]: `processes` is 12, which is not within `autoscale`, 1..8: {WITHIN}",
    ),
    "a group with the name of the autoscaler": (
        f'{WORKER}autoscale = "1..8"\n[command.autoscale]\nrun = "c"',
        "line 4, [command.autoscale]: 'autoscale' is the name of the program that autoscales groups; rename this group.",
    ),
    "autoscaled groups with two stores": (
        f'{WORKER}autoscale = "1..8"\n[worker.x]\nlane = "m:l"\nautoscale = "1..2"\nenvironment.SIDELANE_STORE = "redis://b"',
        "line 6, [worker.x] `autoscale`: its store is not that of the autoscaled group 'w': remove `autoscale` from one of them.",
    ),
    "a missing file of variables": (
        f'\nenv_file = ".env.local"\n{API}',
        "line 2, `env_file`: there is no file .env.local; create it, or remove this key.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_error_names_line_and_key(tmp_path: Path, case: str) -> None:
    text, message = ERRORS[case]
    assert error_of(tmp_path, text).endswith(message)
    assert error_of(tmp_path, text).startswith("sidelane.toml, line ")


def test_error_in_pyproject_has_the_whole_name_of_the_table(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\n[tool.sidelane.up.worker.chat]\nlane = "m:l"\nmax_job = 3\n'
    assert error_of(tmp_path, text, "pyproject.toml") == (
        "pyproject.toml, line 5, [tool.sidelane.up.worker.chat] `max_job`: there is no such key; did you mean `max_jobs`?"
    )
    assert error_of(tmp_path, '[tool]\nsidelane.up = "x"\n', "pyproject.toml") == (
        'pyproject.toml, line 2, [tool.sidelane.up]: this must be a table, not "x".'
    )


def test_all_problems_are_reported_at_once_by_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, f'{API}port = "x"\n{WORKER}max_memory = 1\nbogus = 1\n')
    assert re.findall(r"line (\d+), \[\w+\.\w+\] `(\w+)`", message) == [
        ("3", "port"),
        ("6", "max_memory"),
        ("7", "bogus"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \n", 2),
        ("a = 1\n\na = 2\n", 3),
        ("[api.a]\napp = [\n1,\n\n", 3),
        ('x = 1\ny = """\n', 2),
        ("[a", 1),
    ],
)
def test_invalid_toml_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert error_of(tmp_path, text).startswith(f"sidelane.toml, line {line}, is not valid TOML: ")


def test_file_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sidelane.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigurationError, match=r"sidelane\.toml cannot be read: .*utf-8"):
        load_description(tmp_path)


def test_value_of_a_variable_is_never_shown(tmp_path: Path) -> None:
    text = 'environment = { "A-B" = "hunter2", C = ["hunter2"] }\n[api.a]\napp = "m:a"\n'
    assert "hunter2" not in error_of(tmp_path, text)
    assert "hunter2" not in error_of(tmp_path, 'environment = { "A-B" = "hunter2" }\n[api.a]\napp = "m:a"\n')
