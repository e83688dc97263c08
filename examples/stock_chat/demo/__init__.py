"""The demo: the whole stock chat on this machine, its connection dropped and one of its workers killed."""
