"""Stock chat: a FastAPI service that streams slow answers of a language model to the browser."""
