"""What commands print: tables, details, progress, JSON."""
