"""The demo: runs the whole stock chat on this machine, drops a connection and kills a worker."""
