"""Exporters: figures in the formats of other programs."""
