"""nginx in front of a service: upstreams of the API groups, and locations for the routes that the application itself declares."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sidelane.model.errors import ConfigurationError
from sidelane.ops.deploy.facts import DeployFile, ServiceFacts, check_one_application, connect_host, duration_text
from sidelane.ops.deploy.uploads import largest_upload
from sidelane.ops.groups import ApiGroup
from sidelane.processes.parent import LINGER
from sidelane.web.negotiation import MAX_WAIT
from sidelane.web.routes import AppRoute, RouteKind, routes_of

MIB = 2**20

FORM_OVERHEAD = MIB
"""Bytes of a request besides its largest file: other fields of the form, and boundaries."""

HEAVY = frozenset({"job", "events"})
"""Kinds of routes that belong to the heavy pool."""

DEFAULT_UPLOAD = 100 * MIB
"""Largest upload, if the application takes files and its source tells no limit."""

TIMEOUT_MARGIN = 30
"""Seconds that nginx waits longer than the application itself."""

PINGS = 4
"""Pings of an event stream that may be lost before nginx ends the stream."""

UPSTREAM_KEEPALIVE = 1
"""Seconds for which nginx keeps an idle connection to the API. It must be shorter than `LINGER` and the server's own timeout."""

RECONNECT = """\
    location @reconnect {
        # An EventSource does not come back after an error, but after the end of a stream. Other requests get the error.
        if ($request_method != GET) { return 503; }
        default_type text/event-stream;
        add_header Cache-Control no-cache always;
        return 200 "retry: 2000\\n: the service restarts\\n";
    }
"""

_SERVER_NAMES = re.compile(r"[A-Za-z0-9.*_-]+( [A-Za-z0-9.*_-]+)*")
_LISTEN = re.compile(r"((\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?[0-9]{1,5}")
_PATH = re.compile(r"[^\s\"'$;{}\\\0-\x1f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxOptions:
    """What the description does not tell: the public name, the TLS files, and where to listen.

    Raises `ConfigurationError` if a value cannot be written into a configuration of nginx.
    """

    server_name: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None
    listen: str | None = None
    application: str | None = None

    def __post_init__(self) -> None:
        checks = (
            ("--server-name", self.server_name, _SERVER_NAMES, "names, e.g. shop.example.com"),
            ("--certificate", self.certificate, _PATH, "a path without spaces, quotes and $"),
            ("--certificate-key", self.certificate_key, _PATH, "a path without spaces, quotes and $"),
            ("--listen", self.listen, _LISTEN, "a port, or an address and a port, e.g. 80 or 127.0.0.1:8080"),
        )
        for option, value, pattern, wanted in checks:
            if value is not None and not pattern.fullmatch(value):
                raise ConfigurationError(f"{option} {value!r}: write {wanted}.")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ConfigurationError(
                "--certificate and --certificate-key belong together: name both files, or neither."
            )


def nginx_files(service: ServiceFacts, options: NginxOptions) -> list[DeployFile]:
    """Return the configuration for nginx. Raises `ConfigurationError`."""
    groups = check_one_application(service.api_groups, options.application)
    return [DeployFile(f"{service.name}.conf", _Nginx(service, options, groups).text())]


@dataclass(frozen=True, slots=True)
class _Location:
    """The place of a route. `heavy_methods` are the methods of heavy routes, if light routes have the same path."""

    route: AppRoute
    pattern: str
    heavy_methods: frozenset[str] = frozenset()


class _Nginx:
    """The configuration of one application."""

    def __init__(self, service: ServiceFacts, options: NginxOptions, groups: Mapping[str, ApiGroup]) -> None:
        self._service = service
        self._options = options
        self._groups = groups
        self._routes = routes_of(service.applications.get(next(iter(groups.values())).app))
        self._id = service.identifier
        has = {group.pool for group in groups.values()}
        self._general = f"{self._id}_general" if "general" in has else f"{self._id}_heavy"
        self._heavy = f"{self._id}_heavy" if "heavy" in has else self._general
        prefixes = {str(group.options.get("root_path", "")).rstrip("/") for group in groups.values()}
        if len(prefixes) > 1:
            raise ConfigurationError(
                "The API groups of one application have several values of root_path, so nginx cannot know which part of a URL to "
                "remove. Give all of them the same option."
            )
        self._prefix = prefixes.pop()
        if self._prefix and not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)+", self._prefix):
            raise ConfigurationError(f"root_path {self._prefix!r}: write a path of plain characters, e.g. /shop.")

    def text(self) -> str:
        return "\n".join([self._head(), *self._upstreams(), *self._servers()])

    # --- http block ---------------------------------------------------------------------------------------------------

    def _head(self) -> str:
        return f"""\
# nginx for {self._service.name}, written by `sidelane deploy nginx` from {self._service.source}.
# Commit this file and change it as you need.
# It belongs in the http block, e.g. as /etc/nginx/conf.d/{self._service.name}.conf. Check it with `nginx -t`.
#
# An open event stream needs two connections of nginx. In nginx.conf, set worker_connections to more than twice the number
# of streams, worker_rlimit_nofile above that, and worker_shutdown_timeout (e.g. 60s), so that a reload ends old streams.

map $http_upgrade ${self._id}_connection {{
    # WebSockets need "upgrade". The empty value keeps the connection to the API open for the next request.
    default upgrade;
    ""      "";
}}

map $request_uri ${self._id}_uri {{
    # URLs of streams and files contain tokens, which do not belong in a log.
    ~^(?<before_token>.*?(/events/|/files/|[?&]token=))  $before_token...;
    default                                        $request_uri;
}}

log_format {self._id} '$remote_addr [$time_local] "$request_method ${self._id}_uri $server_protocol" '
                 '$status $body_bytes_sent $request_time $upstream_addr';
"""

    def _upstreams(self) -> Iterator[str]:
        for pool, purpose in (
            ("general", "requests that take milliseconds"),
            ("heavy", "requests that submit jobs, and streams"),
        ):
            groups = {name: group for name, group in self._groups.items() if group.pool == pool}
            if groups:
                yield self._upstream(f"{self._id}_{pool}", purpose, groups)

    def _upstream(self, name: str, purpose: str, groups: Mapping[str, ApiGroup]) -> str:
        servers = [
            f"    server {connect_host(group.host)}:{group.port} weight={group.weight} max_fails=3 fail_timeout=5s;"
            f"  # {group_name}, {_count(group.processes)}"
            for group_name, group in groups.items()
        ]
        # uvicorn would close an idle connection at the moment at which nginx uses it
        kept = all(float(group.options.get("timeout_keep_alive", 75)) > UPSTREAM_KEEPALIVE for group in groups.values())
        keepalive = (
            f"""\
    # A process that stops closes idle connections after {LINGER:g} s. nginx must close them earlier, or it would send a request
    # on a connection that the server closes, and a POST may not be repeated.
    keepalive 64;
    keepalive_timeout {UPSTREAM_KEEPALIVE}s;"""
            if kept
            else """\
    # No connection is kept for the next request, because the server closes idle connections within a second (the option
    # timeout_keep_alive), and a request on such a connection would be lost."""
        )
        return f"""\
# {purpose}
upstream {name} {{
    zone {name} 64k;
    least_conn;  # streams stay open for minutes, so equal numbers of new requests are no equal load
{chr(10).join(servers)}
{keepalive}
}}
"""

    # --- servers ------------------------------------------------------------------------------------------------------

    def _servers(self) -> Iterator[str]:
        name = f"    server_name {self._options.server_name};\n" if self._options.server_name else ""
        if self._options.certificate is None:
            listen = self._options.listen or "80"
            yield f"""\
server {{
    listen {listen};
{name}
    # With TLS, browsers use HTTP/2, in which all event streams share one connection. With HTTP/1.1 a browser opens at most
    # six connections to a host, and each event stream occupies one. `--certificate` and `--certificate-key` write it:
    # listen 443 ssl http2;

{self._body()}}}
"""
            return
        if self._options.listen is None:
            yield f"""\
server {{
    listen 80;
{name}    return 308 https://$host$request_uri;  # 308 keeps the method
}}
"""
        yield f"""\
server {{
    listen {self._options.listen or "443"} ssl http2;  # since nginx 1.25.1: without http2 here, and a line `http2 on;`
{name}    ssl_certificate     {self._options.certificate};
    ssl_certificate_key {self._options.certificate_key};
    ssl_protocols       TLSv1.2 TLSv1.3;
    ssl_session_cache   shared:{self._id}:10m;

{self._body()}}}
"""

    def _body(self) -> str:
        locations = [self._health(), self._metrics(), *map(self._location, self._locations()), self._rest()]
        if any(route.kind == "events" for route in self._routes):
            locations.append(RECONNECT)
        return f"""\
    access_log /var/log/nginx/{self._service.name}.log {self._id};

{self._body_size()}

    proxy_http_version 1.1;
    proxy_set_header Connection ${self._id}_connection;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;

    proxy_connect_timeout 5s;
    # Another API group gets a request only if the first one has not received it, or if it is a GET or another request that
    # may be repeated. A POST that the application may have executed is never repeated: do not add non_idempotent. The limit
    # of 10 s excludes requests that took long, so that one expensive GET does not occupy every group.
    proxy_next_upstream error timeout;
    proxy_next_upstream_tries 3;
    proxy_next_upstream_timeout 10s;

{chr(10).join(filter(None, locations))}"""

    def _body_size(self) -> str:
        payload = self._service.settings.payload_limit
        limit = largest_upload(self._routes, self._service.description.folder)
        if limit is not None and limit.size >= payload:
            size, why = limit.size, f"The largest upload ({limit.source}), and 1 MiB for the rest of the form."
        elif limit is None and any(route.uploads for route in self._routes):
            size, why = (
                DEFAULT_UPLOAD,
                "CHANGE THIS: the application takes files, and its source tells no limit: no constant max_bytes=….",
            )
        else:
            size, why = (
                payload,
                "The limit of arguments (SIDELANE_PAYLOAD_LIMIT), and 1 MiB for the rest of the request.",
            )
        return f"    # {why} A larger request gets a 413.\n    client_max_body_size {math.ceil((size + FORM_OVERHEAD) / MIB)}m;"

    # --- locations ----------------------------------------------------------------------------------------------------

    def _health(self) -> str:
        return "".join(
            f"""\
    location = {path} {{
        access_log off;
{self._rewrite()}        proxy_pass http://{self._general};
        proxy_read_timeout 5s;
    }}
"""
            for path in self._paths("health")
        )

    def _metrics(self) -> str:
        return "".join(
            f"""\
    location = {path} {{
        return 404;  # not for the public: monitoring asks an API group itself
    }}
"""
            for path in [*self._paths("metrics"), *self._paths("scale")]
        )

    def _paths(self, kind: RouteKind) -> list[str]:
        """Return the paths of routes without parameters that do the same."""
        paths = [self._prefix + route.path for route in self._routes if route.kind == kind]
        return [path for path in paths if re.fullmatch(r"[/A-Za-z0-9._~-]+", path)]

    def _locations(self) -> Iterator[_Location]:
        """Yield the places of heavy routes, and those of light routes that a heavy route's expression would match."""
        written: set[str] = set()
        for position, route in enumerate(self._routes):
            if route.kind in HEAVY:
                location = _Location(route, _with_token(route, self._routes), self._heavy_methods(route))
            elif route.kind == "other" and self._is_hidden(route, position):
                location = _Location(route, route.pattern)
            else:
                continue
            if location.pattern not in written:
                written.add(location.pattern)
                yield location

    def _heavy_methods(self, route: AppRoute) -> frozenset[str]:
        """Return the methods of heavy routes with the same path, if there are other routes with it."""
        same = [each for each in self._routes if each.pattern == route.pattern]
        if all(each.kind in HEAVY for each in same):
            return frozenset()
        return frozenset(method for each in same if each.kind in HEAVY for method in each.methods)

    def _is_hidden(self, light: AppRoute, position: int) -> bool:
        """Return whether nginx would take a light route for a heavy one, e.g. GET /chats/recent for POST /chats/{id}."""
        return any(
            heavy.kind in HEAVY
            and heavy.pattern != light.pattern
            and re.fullmatch(heavy.pattern, light.sample)
            and (number > position or not heavy.methods & light.methods)
            for number, heavy in enumerate(self._routes)
        )

    def _location(self, location: _Location) -> str:
        route = location.route
        lines = [f"    location ~ {_quoted(self._prefixed(location.pattern))} {{", f"        # {_described(route)}"]
        upstream = self._heavy if route.kind in HEAVY else self._general
        if location.heavy_methods and self._heavy != self._general:
            upstream = f"${self._id}_upstream"
            lines.append(f"        set {upstream} {self._general};")
            lines += [
                f"        if ($request_method = {method}) {{ set {upstream} {self._heavy}; }}"
                for method in sorted(location.heavy_methods)
            ]
        lines += self._rewrite().splitlines()
        lines.append(f"        proxy_pass http://{upstream};")
        if route.kind in HEAVY:
            lines += self._streaming(route)
        return "\n".join([*lines, "    }", ""])

    def _streaming(self, route: AppRoute) -> Iterator[str]:
        settings = self._service.settings
        timeout = math.ceil(max(PINGS * settings.sse_ping_interval, MAX_WAIT + TIMEOUT_MARGIN))
        why = f"a stream sends a ping every {settings.sse_ping_interval:g} s, `Prefer: wait` takes up to {MAX_WAIT:g} s"
        longest = self._service.longest_timeout
        if longest is not None and longest + TIMEOUT_MARGIN > timeout:
            timeout = math.ceil(longest) + TIMEOUT_MARGIN
            why = f"the longest task may take {duration_text(longest)}"
        yield "        proxy_buffering off;  # each event reaches the client at once"
        yield "        proxy_pass_header X-Accel-Buffering;  # for another nginx in front of this one"
        yield f"        proxy_read_timeout {timeout}s;  # {why}"
        yield f"        proxy_send_timeout {timeout}s;"
        if route.kind == "events":
            yield "        proxy_intercept_errors on;"
            yield "        error_page 502 503 504 = @reconnect;"

    def _rest(self) -> str:
        path = f"{self._prefix}/"
        return f"""\
    location {path} {{
        # All other routes. They answer also while the heavy pool is down.
{self._rewrite()}        proxy_pass http://{self._general};
        proxy_read_timeout 60s;
    }}
"""

    def _prefixed(self, pattern: str) -> str:
        return pattern.replace("^", f"^{self._prefix.replace('.', '[.]')}", 1)

    def _rewrite(self) -> str:
        """Return the line that removes `root_path`, which uvicorn adds again."""
        if not self._prefix:
            return ""
        return f"        rewrite ^{self._prefix.replace('.', '[.]')}(/.*)$ $1 break;  # the option root_path adds it again\n"


def _with_token(route: AppRoute, routes: Sequence[AppRoute]) -> str:
    """Return the pattern of a route. Streams have one location with and without a token."""
    if route.kind == "events":
        for base in (route.path, route.path.rpartition("/")[0]):
            paths = {each.path for each in routes if each.kind == "events"}
            if {base, f"{base}/{{token}}"} <= paths:
                plain = next(each.pattern for each in routes if each.path == base)
                return f"{plain.removesuffix('$')}(/[^/]+)?$"
    return route.pattern


def _described(route: AppRoute) -> str:
    methods = ", ".join(sorted(route.methods))
    purpose = {"job": "submits jobs", "events": "streams events"}.get(
        route.kind, "is not heavy, unlike the routes below"
    )
    return f"{methods} {_one_line(route.path)} {purpose}"


def _one_line(text: str) -> str:
    return re.sub(r"[\0-\x1f\x7f]", "?", text)


def _quoted(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _count(processes: int) -> str:
    return f"{processes} processes" if processes > 1 else "1 process"


def nginx_check(files: Iterable[DeployFile], folder: str) -> str:
    """Return a whole configuration of nginx around generated files, to check them without root. Its files are in a folder."""
    included = "\n".join(file.text for file in files).replace("/var/log/nginx/", f"{folder}/")
    return f"""\
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{included}
}}
"""
