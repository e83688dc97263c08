"""Surroundings that streams are tested in: clients, proxies, middlewares, mounts and servers, with the test of each.

docs/http.md lists them.
"""

from tests.stream_clients.servers import COMMANDS

SERVERS = "tests/stream_clients/test_servers.py"
CLIENTS = "tests/stream_clients/test_stream_clients.py"
CHROMIUM = "tests/browser/test_event_source.py::test_event_source_continues_when_the_service_was_restarted"

PACKAGES = (
    "httpx-sse",
    "aiohttp-sse-client",
    "fetch-event-source",
    "eventsource",
    "eventsource-parser",
    "fetch-event-stream",
)

SURROUNDINGS = {
    "curl": f"{SERVERS}::test_curl_shows_each_event_at_once_and_ends_with_the_stream",
    **{
        name: f"{CLIENTS}::test_client_follows_a_stream_through_a_restart_of_the_service[behind nginx-{name}]"
        for name in PACKAGES
    },
    "Chromium, direct": f"{CHROMIUM}[direct]",
    "Chromium, behind nginx": f"{CHROMIUM}[behind nginx]",
    "WebSocket": f"{SERVERS}::test_websocket_receives_each_event_at_once_and_is_closed_after_the_end",
    "HTTP/2": f"{SERVERS}::test_many_streams_share_one_connection_of_http_2",
    "gzip and CORS": f"{SERVERS}::test_gzip_and_cors_middlewares_hold_no_event_back",
    "mount": f"{SERVERS}::test_links_contain_the_path_under_which_an_application_is_mounted",
    "root path": f"{SERVERS}::test_links_contain_the_prefix_of_a_proxy_that_root_path_names",
    "two lanes": f"{SERVERS}::test_two_lanes_in_one_application_stream_their_own_jobs",
    **{
        name: f"{SERVERS}::test_open_stream_ends_when_the_server_stops_and_continues_at_the_next[{name}]"
        for name in COMMANDS
    },
}
"""The tests by surrounding."""
