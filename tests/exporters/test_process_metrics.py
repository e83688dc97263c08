"""Metrics of one process, from its figures."""

from sidelane.exporters.exposition import Kind
from sidelane.exporters.process_metrics import METRICS, process_exposition
from sidelane.exporters.store_metrics import METRICS as STORE_METRICS
from sidelane.processes.metrics import joined
from sidelane.telemetry import LATENCY_BUCKETS, MessageAction, ProcessFigures, StreamKind
from tests.exporters.facts import Sample, read, sample


def busy_figures() -> ProcessFigures:
    """Return figures in which everything has happened."""
    figures = ProcessFigures()
    figures.count_request("GET", "/jobs/{job_id}", 200, 0.02)
    figures.count_request("POST", "/chat", 503, 20.0)
    for counter in (figures.streams_open, figures.streams_opened, figures.streams_resumed, figures.streams_slow):
        counter[StreamKind("sse")] = 2
    figures.events, figures.event_bytes = 10, 1000
    figures.callbacks["webhook", "delivered"] = 4
    figures.callback_seconds.observe(0.1)
    figures.callback_age.observe(100.0)
    figures.messages["sqs://jobs", MessageAction("sent")] = 5
    figures.message_requests["sqs://jobs", MessageAction("sent")] = 1
    figures.store_seconds.observe("claim", 0.003)
    figures.store_errors["claim"] = 1
    figures.loop_lag = 0.25
    return figures


def samples(figures: ProcessFigures, process: str = "worker-1@box", slots: int | None = 40) -> dict[Sample, float]:
    return read(process_exposition(process, figures, running=3, slots=slots).encode("")[0])


def test_every_metric_has_samples() -> None:
    names = {name for name, _ in samples(busy_figures())}
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names} == {
        metric.name for metric in METRICS
    }


def test_names_follow_the_conventions_and_are_not_those_of_the_store() -> None:
    for metric in METRICS:
        assert metric.name.startswith("sidelane_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.labels[0] == "process"
    assert not {metric.name for metric in METRICS} & {metric.name for metric in STORE_METRICS}


def test_figures_have_the_name_of_the_process() -> None:
    found = samples(busy_figures())
    me = {"process": "worker-1@box"}
    assert found[sample("sidelane_process_memory_bytes", **me)] > 1 << 20
    assert found[sample("sidelane_process_cpu_seconds_total", **me)] > 0
    assert found[sample("sidelane_process_slots", **me)] == 40
    assert found[sample("sidelane_requests_total", **me, method="POST", route="/chat", status="503")] == 1
    assert found[sample("sidelane_streams", **me, kind="sse")] == 2
    assert found[sample("sidelane_messages_total", **me, endpoint="sqs://jobs", action="sent")] == 5
    bound = next(bound for bound in LATENCY_BUCKETS if bound >= 0.003)
    assert found[sample("sidelane_store_call_seconds_bucket", **me, call="claim", le=str(bound))] == 1
    assert found[sample("sidelane_store_call_seconds_sum", **me, call="claim")] == 0.003


def test_an_api_process_has_no_slots() -> None:
    names = {name for name, _ in samples(ProcessFigures(), slots=None)}
    assert "sidelane_process_running" in names
    assert "sidelane_process_slots" not in names


def test_texts_of_several_processes_are_one_text() -> None:
    names = ["w-1", "w-2 # HELP me", "w-3\x85\n# HELP"]
    texts = [process_exposition(name, busy_figures(), running=1).encode("")[0].decode() for name in names]
    together = joined(texts)
    assert together.count("# TYPE sidelane_request_seconds histogram") == 1
    assert len(read(together.encode())) == sum(len(read(text.encode())) for text in texts)
