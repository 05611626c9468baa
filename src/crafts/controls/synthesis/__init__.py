"""Nuclei that no slide shows: layouts invented from statistics, and edits of real ones."""
