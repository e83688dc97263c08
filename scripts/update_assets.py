"""Assets of the dashboard: copy the libraries that its pages use, with their licences, out of their npm packages.

python scripts/update_assets.py     after a change of a version below
"""

import subprocess
import tarfile
import tempfile
from pathlib import Path

STATIC = Path(__file__).parents[1] / "src" / "sidelane" / "web" / "dashboard" / "static"

PACKAGES = {
    "htmx.org@4.0.1": {"package/dist/htmx.min.js": "htmx.min.js"},
    "uplot@1.6.32": {"package/dist/uPlot.iife.min.js": "uplot.min.js", "package/dist/uPlot.min.css": "uplot.min.css"},
}
"""For each package with its version, what its files are called here."""

LICENCE = "package/LICENSE"


def main() -> None:
    """Copy the files, and write the licences into one file."""
    licences = []
    with tempfile.TemporaryDirectory() as folder:
        for package, names in PACKAGES.items():
            packed = subprocess.run(
                ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True
            )
            with tarfile.open(Path(folder) / packed.stdout.strip()) as archive:
                for source, name in names.items():
                    (STATIC / name).write_bytes(_read(archive, source))
                licences.append(
                    f"{package}: {', '.join(names.values())}\n\n{_read(archive, LICENCE).decode().strip()}\n"
                )
    (STATIC / "LICENSES.txt").write_text("\n\n".join(licences), "utf-8")


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise SystemExit(f"{name} is no file of {archive.name}.")
    return member.read()


if __name__ == "__main__":
    main()
