"""Songs through models: cut into segments, computed, put together again."""
