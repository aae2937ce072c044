"""Downloads: transfer of a file, and unpacking of an archive."""
