"""Descriptions of services: where they are read, and what they may contain."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelane import ConfigurationError
from sidelane.configuration import load_settings
from sidelane.ops.description import load_description
from sidelane.ops.groups import ApiGroup, CommandGroup, WorkerGroup
from tests.ops.descriptions import error_of, load

EVERYTHING = """
env_file = ".env"
environment = { SIDELANE_STORE = "redis://127.0.0.1:6379/0" }

[api.general]
app = "main:app"
host = "0.0.0.0"
port = 8001
processes = 2
weight = 3
pool = "heavy"
options = { timeout_keep_alive = 5 }
depends_on = ["model"]
health_port = 9001

[worker.chat]
lane = "shop.lane:lane"
queues = ["chat", "email=2"]
concurrency = 100
processes = 3
max_jobs = 1000
max_memory = "500MB"
max_lifetime = "12h"
ready_timeout = "2min"
stop_timeout = 600
stop_first = true
autostart = false

[command.model]
run = "python -m shop.model --name 'a b'"
directory = "models"
environment = { CUDA_VISIBLE_DEVICES = "0" }
ready = { http = "http://127.0.0.1:8080/health", timeout = "90s" }
"""


def test_all_keys_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SIDELANE_STORE=sqlite:///x.db\nOPENAI_API_KEY=sk-1", "utf-8")
    found = load(tmp_path, EVERYTHING)
    api, worker, command = found.groups.values()
    assert isinstance(api, ApiGroup)
    assert (api.app, api.host, api.port, api.processes, api.weight, api.pool, api.health_port) == (
        "main:app", "0.0.0.0", 8001, 2, 3, "heavy", 9001,  # noqa: S104 - read, not listened on
    )  # fmt: skip
    assert (api.options, api.depends_on) == ({"timeout_keep_alive": 5}, ("model",))
    assert isinstance(worker, WorkerGroup)
    assert (worker.lane, worker.queues, worker.concurrency) == ("shop.lane:lane", ("chat", "email=2"), 100)
    assert (worker.processes, worker.max_jobs, worker.max_memory, worker.max_lifetime) == (3, 1000, "500MB", "12h")
    assert (worker.ready_timeout, worker.stop_timeout, worker.stop_first, worker.autostart) == (120, 600, True, False)
    assert isinstance(command, CommandGroup)
    assert (command.run, command.directory) == (("python", "-m", "shop.model", "--name", "a b"), "models")
    assert command.ready is not None
    assert (command.ready.http, command.ready.timeout) == ("http://127.0.0.1:8080/health", 90)
    assert command.environment == {"CUDA_VISIBLE_DEVICES": "0"}
    # the description overrides the file of variables
    assert found.environment == {"SIDELANE_STORE": "redis://127.0.0.1:6379/0", "OPENAI_API_KEY": "sk-1"}


def test_description_in_pyproject_is_read_and_is_no_setting(tmp_path: Path) -> None:
    text = '[tool.sidelane]\nconcurrency = 7\n[tool.sidelane.up.api.general]\napp = "main:app"\n'
    found = load(tmp_path, text, "pyproject.toml")
    assert (list(found.groups), found.file) == (["general"], tmp_path / "pyproject.toml")
    assert load_settings({}, tmp_path).settings.concurrency == 7


def test_sidelane_toml_wins_over_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.sidelane.up.api.other]\napp = "main:app"\n', "utf-8")
    found = load(tmp_path, '[api.own]\napp = "main:app"\n')
    assert list(found.groups) == ["own"]


def test_groups_of_all_kinds_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = '[command.b]\nrun = "b"\n[api.z]\napp = "m:a"\n[worker.a]\nlane = "m:l"\n[command.a-2]\nrun = ["a"]'
    assert list(load(tmp_path, text).groups) == ["b", "z", "a", "a-2"]


def test_description_of_the_documentation_loads(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "running.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert list(load(tmp_path, example).groups) == ["general", "chat", "model"]


# --- without a description ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "application"),
    [
        ("main.py", "from fastapi import FastAPI\nservice: FastAPI = FastAPI()", "main:service"),
        ("app.py", "import fastapi\napi = fastapi.FastAPI(title='x')", "app:api"),
        ("api.py", "from shop.web import made as app", "api:app"),
        ("app/main.py", "app = create_app()", "app.main:app"),
    ],
)
def test_without_a_description_the_application_of_the_folder_gets_an_api_and_a_worker(
    tmp_path: Path, file: str, text: str, application: str
) -> None:
    (tmp_path / "main.py").write_text("print('no application')", "utf-8")
    (tmp_path / "app").mkdir()
    (tmp_path / file).write_text(text, "utf-8")
    found = load_description(tmp_path)
    assert (found.file, list(found.groups)) == (None, ["api", "worker"])
    api, worker = found.groups.values()
    assert isinstance(api, ApiGroup)
    assert (api.app, api.port) == (application, 8000)
    assert isinstance(worker, WorkerGroup)
    assert worker.lane == application


def test_without_description_and_application_the_error_shows_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.sidelane]\n", "utf-8")
    with pytest.raises(
        ConfigurationError, match=r"(?s)no application.* in one of main\.py, .*write sidelane\.toml"
    ) as caught:
        load_description(tmp_path)
    shown = str(caught.value).partition("e.g.\n")[2]
    assert list(load(tmp_path, shown).groups) == ["web", "jobs"]


def test_application_with_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import x\napp = (", "utf-8")
    with pytest.raises(ConfigurationError, match=r"main\.py, line 2: the application cannot be found"):
        load_description(tmp_path)


# --- lanes of workers --------------------------------------------------------------------------------------------------


def test_worker_without_lane_takes_that_of_the_only_application(tmp_path: Path) -> None:
    worker = load(tmp_path, '[worker.a]\n[api.b]\napp = "main:app"').groups["a"]
    assert isinstance(worker, WorkerGroup)
    assert worker.lane == "main:app"


@pytest.mark.parametrize("where", ["environment", "env_file", "group"])
def test_worker_without_lane_leaves_the_choice_to_the_setting(tmp_path: Path, where: str) -> None:
    (tmp_path / ".env").write_text("SIDELANE_LANE=shop:lane", "utf-8")
    top = {"environment": 'environment.SIDELANE_LANE = "shop:lane"', "env_file": 'env_file = ".env"', "group": ""}[
        where
    ]
    own = 'environment.SIDELANE_LANE = "shop:lane"' if where == "group" else ""
    worker = load(tmp_path, f'{top}\n[worker.a]\n{own}\n[api.b]\napp = "main:app"').groups["a"]
    assert isinstance(worker, WorkerGroup)
    assert worker.lane is None


def test_worker_that_nothing_names_a_lane_for_is_an_error(tmp_path: Path) -> None:
    text = '[api.a]\napp = "one:app"\n[api.b]\napp = "two:app"\nport = 8001\n[worker.w]\n'
    assert error_of(tmp_path, text).startswith("sidelane.toml, line 6, [worker.w]: nothing names the lane")


# --- any description ---------------------------------------------------------------------------------------------------

TRAP = '"""\n[worker.bogus]\nbogus = 1\n\\"""\n"""'
"""A text of several lines that look like headers and keys."""

TOP = [
    "environment = { A = \"[b]\", 'C' = '}' }",
    f"environment.TRAP = {TRAP}",
    '# bogus = "x"',
    "env_file = 'variables'",
]
COMMON = [
    "depends_on = [ # ]\n  'c', # bogus = 1\n]",
    f"environment.TRAP = {TRAP} # ]",
    '"ready_timeout" = "1h30m"',
    "'stop_timeout'=0.5",
    "stop_first = true",
    "autostart   =   false",
    "  # [api.bogus]",
]
KEYS = {
    "api.a": [*COMMON, 'host = "#"', "port = 8_001", "processes = 0x2", "weight = 7", "pool = 'heavy'",
              'options . "http" = "h11"', "options.headers = [\n['a', '''[''\n''''], # x\n]", "health_port = 9_001"],
    "worker.w": [*COMMON, 'lane = "m:l"', 'queues = ["a",\n"b=2"]', "concurrency = 5", "processes = 3", "max_jobs = 10",
                 "max_memory = '2 GiB'", "max_lifetime = 30", "health_port = 9002"],
    "command.c": [*COMMON[1:4], "directory = 'x'", "ready = { log = \"''' [x] = {\" }"],
}  # fmt: skip
REQUIRED = {"api.a": ['app = "m:a"'], "worker.w": [], "command.c": ['run = ["c", \'"""\']']}
UNKNOWN = [
    "bogus = 1",
    '"bogus" = [\n]',
    "'bogus'.x.y = 2",
    "  bogus   =   {}",
    '"bo\\u0067us" = true',
    f"bogus = {TRAP}",
]


def chosen(draw: st.DrawFn, statements: list[str]) -> list[str]:
    picked = draw(st.lists(st.sampled_from(statements), unique=True))
    if sum(statement.startswith("environment") for statement in picked) > 1:  # TOML does not extend an inline table
        picked = [statement for statement in picked if not statement.startswith("environment =")]
    return picked


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str, int]:
    """Draw a valid description, and one with an unknown key and the line of that key."""
    sections: list[list[str]] = [chosen(draw, TOP)]
    for name in draw(st.permutations(list(KEYS))):
        prefix, dot, last = name.partition(".")
        header = draw(st.sampled_from([f"[{name}]", f' [ {prefix} . "{last}" ] # ]', f"['{prefix}'{dot}{last}]"]))
        body = [*REQUIRED[name], *chosen(draw, KEYS[name])]
        sections.append([header, *draw(st.permutations(body))])
    number = draw(st.integers(0, len(sections) - 1))
    section = sections[number]
    index = draw(st.integers(min(number, 1), len(section)))  # not before the header
    spoiled = [
        *sections[:number],
        [*section[:index], draw(st.sampled_from(UNKNOWN)), *section[index:]],
        *sections[number + 1 :],
    ]
    before = "\n".join([statement for part in sections[:number] for statement in part] + section[:index])
    line = before.count("\n") + 2 if before else 1
    valid, invalid = ("\n".join(statement for part in each for statement in part) for each in (sections, spoiled))
    return valid, invalid, line


@settings(deadline=None)
@given(documents())
def test_any_valid_keys_load_and_an_unknown_key_is_reported_at_its_line(drawn: tuple[str, str, int]) -> None:
    valid, invalid, line = drawn
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "variables").write_text("", "utf-8")
        assert set(load(folder, valid).groups) == {"a", "w", "c"}
        message = error_of(folder, invalid)
    assert re.fullmatch(rf"sidelane\.toml, line {line},( \[.*\])? `bogus`: there is no such key; .*", message)
