"""Configuration of nginx: its pools, locations, sizes and timeouts, as text and by `nginx -t`."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi import FastAPI, Response, UploadFile

from sidelane import ConfigurationError
from sidelane.ops.deploy.checks import check_nginx
from sidelane.ops.deploy.nginx import NginxOptions, nginx_files
from sidelane.processes.parent import LINGER
from tests.ops.deploy import ticker
from tests.ops.deploy.facts import SERVICE, TICKER, facts


def nginx(folder: Path, text: str = SERVICE, application: object = ticker.app, only: str | None = None) -> str:
    (file,) = nginx_files(facts(folder, text, application=application), NginxOptions(application=only))
    assert file.name == "shop.conf"
    return file.text


def location_of(text: str, path: str) -> str:
    """Return the location that nginx would choose: an exact one, else the first expression that matches, else the prefix."""
    locations = re.findall(r"^    location (=|~)? ?(.+?) \{\n(.*?)^    \}", text, re.MULTILINE | re.DOTALL)
    exact = [body for kind, place, body in locations if kind == "=" and place == path]
    matching = [body for kind, place, body in locations if kind == "~" and re.search(place.strip('"'), path)]
    prefix = [body for kind, place, body in locations if not kind and path.startswith(place)]
    return str([*exact, *matching, *prefix][0])


def test_pools_have_their_groups_with_weights(tmp_path: Path) -> None:
    text = nginx(tmp_path)
    general, heavy = (re.search(rf"upstream shop_{pool} {{(.*?)}}", text, re.DOTALL) for pool in ("general", "heavy"))
    assert general is not None
    assert heavy is not None
    assert "server 127.0.0.1:8001 weight=1 " in general[1]
    assert "server 127.0.0.1:8002 weight=3 " in heavy[1]
    assert text.count(" server 127.0.0.1:") == 2


def test_idle_connections_to_the_api_close_before_a_stopping_process_closes_them(tmp_path: Path) -> None:
    (seconds,) = set(re.findall(r"^    keepalive_timeout (\d+)s;$", nginx(tmp_path), re.MULTILINE))
    assert float(seconds) < LINGER


def test_no_connection_is_kept_if_the_server_closes_idle_ones_within_a_second(tmp_path: Path) -> None:
    text = f'[api.web]\napp = "{TICKER}:app"\noptions = {{ timeout_keep_alive = 1 }}'
    assert not re.search(r"^ *keepalive", nginx(tmp_path, text), re.MULTILINE)


@pytest.mark.row("R4")
def test_only_routes_that_submit_jobs_or_stream_events_use_the_heavy_pool(tmp_path: Path) -> None:
    text = nginx(tmp_path)
    assert "if ($request_method = POST) { set $shop_upstream shop_heavy; }" in location_of(text, "/ticks/a")
    assert "set $shop_upstream shop_general;" in location_of(text, "/ticks/a")
    for path in ("/jobs/0193/events", "/jobs/0193/events/to.ken"):  # external workers POST events to the first
        assert "if ($request_method = GET) { set $shop_upstream shop_heavy; }" in location_of(text, path)
    assert "proxy_pass http://shop_heavy;" in location_of(text, "/batches/0193/events")
    for path in ("/ticks/recent", "/echo", "/jobs/0193", "/recordings", "/ticks/a/b", "/health/ready", "/"):
        assert "proxy_pass http://shop_general;" in location_of(text, path)
        assert "heavy;" not in location_of(text, path)


def test_metrics_are_not_public(tmp_path: Path) -> None:
    assert "return 404;" in location_of(nginx(tmp_path), "/metrics")


def test_streams_are_not_buffered_and_survive_a_restart(tmp_path: Path) -> None:
    text = nginx(tmp_path)
    for path in ("/ticks/a", "/jobs/0193/events/to.ken", "/batches/0193/events"):
        assert "proxy_buffering off;" in location_of(text, path)
        assert "proxy_read_timeout 270s;  # the longest task may take 4 min" in location_of(text, path)
        assert ("error_page 502 503 504 = @reconnect;" in location_of(text, path)) == path.endswith(("events", "ken"))
    assert "proxy_buffering" not in location_of(text, "/echo")


def test_one_pool_gets_all_requests(tmp_path: Path) -> None:
    for pool in ("general", "heavy"):
        text = nginx(tmp_path, f'[api.web]\napp = "{TICKER}:app"\nhost = "0.0.0.0"\npool = "{pool}"')
        assert set(re.findall(r"(?:http://|^upstream )(\w+)", text, re.MULTILINE)) == {f"shop_{pool}"}
        assert "server 127.0.0.1:8000 " in text
        assert "if ($request_method = POST)" not in text


def test_largest_upload_of_the_source_is_allowed(tmp_path: Path) -> None:
    text = nginx(tmp_path)
    assert "client_max_body_size 31m;" in text
    assert re.search(r"The largest upload \(\S*ticker\.py, line \d+\)", text)


def test_upload_without_a_known_limit_gets_a_default_to_be_changed(tmp_path: Path) -> None:
    app = FastAPI()

    @app.post("/files")
    async def files(file: UploadFile) -> None: ...

    text = nginx(tmp_path, application=app)
    assert "CHANGE THIS: the application takes files" in text
    assert "client_max_body_size 101m;" in text
    assert "client_max_body_size 2m;" in nginx(tmp_path, application=FastAPI())


def test_root_path_is_removed_because_the_server_adds_it(tmp_path: Path) -> None:
    text = nginx(tmp_path, f'[api.web]\napp = "{TICKER}:app"\noptions = {{ root_path = "/shop/v1.0" }}')
    assert "rewrite ^/shop/v1[.]0(/.*)$ $1 break;" in location_of(text, "/shop/v1.0/ticks/a")
    assert "proxy_buffering off;" in location_of(text, "/shop/v1.0/ticks/a")
    assert "proxy_buffering off;" not in location_of(text, "/shop/v1.0/echo")


def test_one_file_is_about_one_application(tmp_path: Path) -> None:
    text = '[api.a]\napp = "a:app"\nport = 1\n[api.b]\napp = "b:app"\nport = 2'
    with pytest.raises(ConfigurationError, match=r"several applications: a:app, b:app\..*--app a:app"):
        nginx(tmp_path, text)
    assert "127.0.0.1:2 " in nginx(tmp_path, text, only="b:app")
    with pytest.raises(ConfigurationError, match="No API group has the application 'c:app'"):
        nginx(tmp_path, text, only="c:app")
    with pytest.raises(ConfigurationError, match="no API group"):
        nginx(tmp_path, f'[worker.w]\nlane = "{TICKER}:lane"')


@pytest.mark.parametrize(
    "options",
    [
        {"server_name": "a; b"}, {"listen": "80; return 200"}, {"listen": "x"}, {"certificate": "/a"},
        {"certificate": "/a$b", "certificate_key": "/k"}, {"certificate": "/a b", "certificate_key": "/k"},
    ],
)  # fmt: skip
def test_value_that_would_change_the_configuration_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="--"):
        NginxOptions(**options)


@pytest.mark.long
@pytest.mark.row("R4")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    "text",
    [
        SERVICE,
        f'[api.web]\napp = "{TICKER}:app"\nhost = "::"\noptions = {{ root_path = "/shop", timeout_keep_alive = 1 }}',
    ],
    ids=["two pools", "one pool"],
)
def test_nginx_accepts_the_file(tmp_path: Path, text: str, tls: bool) -> None:
    options = {
        "listen": "127.0.0.1:0" if not tls else "127.0.0.1:8443",
        "server_name": "shop.example.com *.example.org",
    }
    if tls:
        options |= {"certificate": f"{tmp_path}/shop.crt", "certificate_key": f"{tmp_path}/shop.key"}
        openssl = shutil.which("openssl")
        assert openssl is not None
        subject = [
            "-subj",
            "/CN=shop.example.com",
            "-keyout",
            options["certificate_key"],
            "-out",
            options["certificate"],
        ]
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
        )
    else:
        options["listen"] = "127.0.0.1:8081"
    check_nginx(nginx_files(facts(tmp_path, text), NginxOptions(**options)))


@pytest.mark.long
def test_route_with_any_characters_is_accepted_and_matches(tmp_path: Path) -> None:
    app = FastAPI()

    async def respond(respond: ticker.Respond) -> Response: ...  # type: ignore[empty-body]

    for path in (
        "/v1.0/a b/{name}",
        '/q"uote/{n:int}',
        "/back\\slash/{p:path}/x",
        "/semi;colon$/(x)|[y]*",
        "/ünï/{u:uuid}",
    ):
        app.post(path)(respond)
    files = nginx_files(facts(tmp_path, application=app), NginxOptions(listen="127.0.0.1:8081"))
    check_nginx(files)
    assert location_of(files[0].text, "/v1.0/a b/x").count("shop_heavy") == 1


@pytest.mark.long
def test_what_nginx_reports_is_one_paragraph(tmp_path: Path) -> None:
    files = nginx_files(
        facts(tmp_path),
        NginxOptions(certificate="/no/such.crt", certificate_key="/no/such.key", listen="127.0.0.1:8443"),
    )
    with pytest.raises(
        ConfigurationError, match=r"reports \(exit status 1\): .*/no/such\.crt.*Nothing was written\."
    ) as caught:
        check_nginx(files)
    assert "\n" not in str(caught.value)


def test_missing_nginx_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.ops.deploy.checks.SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"no program 'nginx' on this machine.*leave out --check"):
        check_nginx(nginx_files(facts(tmp_path), NginxOptions()))
