"""Self-contained HTML pages about runs, and a headless browser to check and photograph them.

The package is not called `html`, since that would hide the module of the standard library from the scripts.
"""
