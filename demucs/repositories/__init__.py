"""Models by name: what is published, what lies in a folder, and how a file gets here."""
