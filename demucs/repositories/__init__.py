"""Models by name: published models, folders of exported models, and downloads."""
