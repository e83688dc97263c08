"""Secrets: short ones are refused, and none is shown."""

import base64
import json
import time

import pytest

from sidelane import ConfigurationError, Sidelane
from sidelane.callbacks.signing import SecretError, webhook_headers
from sidelane.configuration import load_settings
from sidelane.stores.factory import redact_url
from tests.cli.command import Command

SHORT = "short-and-secret"


def whsec(size: int) -> str:
    return "whsec_" + base64.b64encode(b"\xff" * size).decode()


@pytest.mark.parametrize("secret", ["x", SHORT, "y" * 31])
def test_short_secret_is_refused_with_how_to_make_one(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 32 bytes; `openssl rand -base64 32` makes one") as refused:
        load_settings({"SIDELANE_SECRET": secret})
    assert "SIDELANE_SECRET" in str(refused.value)
    assert f" {secret} " not in f" {refused.value} "
    with pytest.raises(ConfigurationError):
        Sidelane(store="sqlite://:memory:", settings={"secret": secret})


@pytest.mark.parametrize("secret", ["", "y" * 32, "é" * 16])
def test_secret_of_32_bytes_or_none_is_accepted(secret: str) -> None:
    assert load_settings({}, secret=secret).settings.secret == secret


@pytest.mark.parametrize("size", [1, 16, 23])
def test_short_webhook_secret_is_refused_with_how_to_make_one(size: int) -> None:
    with pytest.raises(
        SecretError, match=f"at least 24 bytes, and this one has {size}.*openssl rand -base64 32"
    ) as error:
        webhook_headers("id", "{}", [whsec(32), whsec(size)])
    assert whsec(size) not in str(error.value)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_webhook_secret_of_24_bytes_signs(size: int) -> None:
    for secret in (whsec(size), whsec(size).removeprefix("whsec_")):
        assert webhook_headers("id", "{}", [secret], at=time.time())["webhook-signature"].startswith("v1,")


MISTYPED = [
    "redis://shop:hidden@host:6379/0",
    "redis://:hidden@host",
    "redis://hidden@host",
    "redis:/shop:hidden@host",
    "redis//shop:hidden@host",
    "redis:shop:hidden@host",
    "shop:hidden@host",
    "hidden@host",
    "rediss:///:hidden@host",
    "postgres://shop:hidden@host/shop",
    "redis://shop:hid@hidden@host",
    "redis://shop:hidden/hidden@host",
    "redis://shop:hidden#hidden@host",
    "redis+sentinel://:hidden@one,two/shop?password=hidden&sentinel_password=hidden",
    "redis://host?Password=hidden",
    "sqlite://shop:hidden@host",
    "sqlite:/shop:hidden@host",
]


@pytest.mark.parametrize("url", MISTYPED)
def test_password_in_a_mistyped_url_is_masked(url: str) -> None:
    shown = redact_url(url)
    assert "hid" not in shown
    assert "host" in shown or "one,two" in shown


@pytest.mark.parametrize("url", MISTYPED)
def test_config_masks_passwords_in_mistyped_urls(sidelane: Command, url: str) -> None:
    for arguments in (["config"], ["config", "--json"]):
        result = sidelane(*arguments, env={"SIDELANE_STORE": url, "SIDELANE_JOBS_URL": "https://shop:hidden@host/jobs"})
        assert result.exit_code == 0
        assert "hid" not in result.stdout + result.stderr


def test_paths_and_urls_without_passwords_are_shown_as_they_are(sidelane: Command) -> None:
    for url in ("sqlite:////srv/a@b/shop:1.db", "sqlite://:memory:", "redis://host:6379/0?name=shop"):
        assert redact_url(url) == url
    env = {"SIDELANE_FILE_STORAGE": "/srv/a:b@c", "SIDELANE_FILES_URL": "https://api.example.com/files"}
    document = json.loads(sidelane("config", "--json", env=env).stdout)
    assert document["file_storage"]["value"] == "/srv/a:b@c"
    assert document["files_url"]["value"] == "https://api.example.com/files"
