"""Sound synthesis behind demucs.data.synthetic: a song plan, and one module per stem that plays it."""
