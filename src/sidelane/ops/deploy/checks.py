"""Checks of generated files by the programs that read them."""

import os
import shutil
import subprocess  # nosec B404 - it runs the programs that read the files
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sidelane.model.errors import ConfigurationError
from sidelane.ops.deploy.facts import DeployFile
from sidelane.ops.deploy.nginx import nginx_check

CHECK_TIMEOUT = 60.0
"""Seconds that a check may take."""

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
"""Folders of system programs, which are not always on the PATH of ordinary users."""


def check_nginx(files: Sequence[DeployFile]) -> None:
    """Let `nginx -t` check a configuration. Raises `ConfigurationError` with what nginx reports, or if there is no nginx."""
    nginx = _program("nginx", "nginx")
    with tempfile.TemporaryDirectory(prefix="sidelane-nginx-") as folder:
        main = Path(folder) / "nginx.conf"
        main.write_text(nginx_check(files, folder), "utf-8")
        _run([nginx, "-t", "-q", "-e", "stderr", "-p", folder, "-c", str(main)])


def check_systemd(files: Sequence[DeployFile]) -> None:
    """Let `systemd-analyze verify` check units. Raises `ConfigurationError` with what it reports, or if it is missing."""
    analyze = _program("systemd-analyze", "systemd")
    with tempfile.TemporaryDirectory(prefix="sidelane-systemd-") as folder:
        for file in files:
            (Path(folder) / file.name).write_text(file.text, "utf-8")
        units = [str(Path(folder) / file.name) for file in files]
        _run([analyze, "verify", "--man=no", *units], about=folder, SYSTEMD_UNIT_PATH=f"{folder}:")


def _program(name: str, package: str) -> str:
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS]))
    if path is None:
        raise ConfigurationError(
            f"There is no program {name!r} on this machine to check the file with. Install it (e.g. apt-get install {package}), or "
            "leave out --check and check the file where it is used."
        )
    return path


def _run(command: Sequence[str], about: str = "", **environment: str) -> None:
    """Run a check. Without an error, only lines `about` the files count, because other units may have problems too."""
    try:
        done = subprocess.run(  # noqa: S603 # nosec B603 - the program that reads the file
            command,
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT,
            env={**os.environ, **environment},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"{command[0]} has not ended within {CHECK_TIMEOUT:g} s, so nothing was checked."
        ) from error
    lines = (done.stderr or done.stdout).splitlines()
    report = " ".join(" ".join(line for line in lines if done.returncode or about in line).split()).rstrip(".")
    if done.returncode or report:
        raise ConfigurationError(
            f"{command[0]} reports (exit status {done.returncode}): {report or 'nothing'}. Nothing was written."
        )
