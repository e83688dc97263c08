"""Child processes: started, watched and restarted."""
