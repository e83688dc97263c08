"""nginx in front of a service, with the locations that the documentation gives."""

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from string import Template

import pytest

from tests.contract.servers import free_port

HTTP_PAGE = Path(__file__).parents[2] / "docs" / "http.md"

CONFIGURATION = Template("""\
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 64; }
http {
    $http
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    server {
        listen 127.0.0.1:$port;
        location / { proxy_pass http://127.0.0.1:$upstream; }
        $locations
    }
}
""")


class Nginx:
    """One nginx process. `http` is what its configuration says about logs."""

    def __init__(self, folder: Path, upstream: int, *, http: str = "access_log off;") -> None:
        program = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
        if program is None:
            pytest.skip("Debian's nginx-light is not installed")
        folder.mkdir()
        self.port = free_port()
        (documented,) = re.findall(r"```nginx\n(.*?)```", HTTP_PAGE.read_text(), re.DOTALL)
        self._file = folder / "nginx.conf"
        locations = documented.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
        self._file.write_text(
            CONFIGURATION.substitute(folder=folder, port=self.port, upstream=upstream, locations=locations, http=http)
        )
        self._process = subprocess.Popen([program, "-p", folder, "-e", "stderr", "-c", self._file])
        until = time.monotonic() + 20
        while not self._listens():
            assert time.monotonic() < until, "nginx did not start"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
