"""Remixes of stems from different songs that agree in tempo, first beat and key: analysis, matching, rendering."""
