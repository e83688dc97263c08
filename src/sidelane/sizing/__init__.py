"""Sizing: the arithmetic of how many processes and slots a load needs. It reads nothing by itself."""
