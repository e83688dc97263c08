"""Where jobs are kept: one contract, and the databases that meet it."""
