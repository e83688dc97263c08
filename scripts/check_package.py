"""Package check: build the sdist and the wheel, install the wheel into a clean environment, and run README's example with it.

Run by `make package`. Exits with status 1 if a file of the product is missing from either, or if the example does not work.
"""

import http.client
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
UV = Path(sys.executable).parent / "uv"
TIMEOUT = 60.0
"""Seconds until the example's API must answer."""


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it; return both paths."""
    subprocess.run([UV, "build", "--quiet", "--no-create-gitignore", "--out-dir", folder, ROOT], check=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def missing_files(sdist: Path, wheel: Path) -> list[str]:
    """Return the tracked files of `src` that one of the archives does not have."""
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = set(listed.stdout.split())
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {f"src/{name}" for name in archive.namelist()}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    return sorted(tracked - in_wheel | tracked - in_sdist)


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel into a new environment; return its folder of programs."""
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    programs = folder / "bin"
    subprocess.run([UV, "pip", "install", "--quiet", "--python", programs / "python", f"{wheel}[web,cli]"], check=True)
    return programs


def run_example(programs: Path, folder: Path) -> None:
    """Run README's file with `sidelane dev`, and request a story. Raises SystemExit on a wrong answer."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "app = FastAPI" in block)
    (folder / "hello.py").write_text(code, encoding="utf-8")
    port = free_port()
    process = subprocess.Popen([programs / "sidelane", "dev", "hello:app", "--port", str(port)], cwd=folder)
    try:
        status, body = request(process, port)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT)
    if (status, body) != (200, '"word1 word2 word3 "'):
        raise SystemExit(f"README's example answered {status}: {body}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def request(process: subprocess.Popen[bytes], port: int) -> tuple[int, str]:
    """Request a story as soon as the API accepts connections. Raises TimeoutError."""
    until = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        try:
            connection.request("POST", "/story/3", headers={"Prefer": "wait=30"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        except ConnectionError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise TimeoutError("The API of README's example did not start.")


def main() -> int:
    """Check the package, and return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sdist, wheel = build(folder)
        missing = missing_files(sdist, wheel)
        if missing:
            print("Missing from the sdist or the wheel:", *missing, sep="\n  ")
            return 1
        run_example(install(wheel, folder / "environment"), folder)
    print(f"{wheel.name} has every file of the product, and README's example runs with it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
