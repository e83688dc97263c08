"""A chat about stocks: slow answers of a language model in a lane of their own, streamed to the browser."""
