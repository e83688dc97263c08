"""Every benchmark, one after the other: `make bench`, or `make bench QUICK=1` for a short run."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import apsw

HERE = Path(__file__).parent
SCRIPTS = ("sqlite_store.py", "main_job.py")


def main(arguments: list[str]) -> int:
    """Run the named scripts, or all, and give the worst exit status."""
    print(f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}, {platform.machine()}", flush=True)
    quick = ["--quick"] if os.environ.get("QUICK") else []
    worst = 0
    for script in arguments or SCRIPTS:
        print(f"\n{script}", flush=True)
        worst = max(
            worst, subprocess.run([sys.executable, str(HERE / script), *quick], cwd=HERE, check=False).returncode
        )
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
