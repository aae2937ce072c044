"""HTML pages about runs, each a file that needs no other, and a browser to look at them.

A package called `html` would hide that of the standard library from the scripts.
"""
