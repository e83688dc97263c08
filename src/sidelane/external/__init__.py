"""External tasks: dispatched to workers elsewhere, completed by messages or over HTTP."""
