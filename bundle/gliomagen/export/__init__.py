"""Writing synthetic cases: sharded over processes, resumable, each finished or absent."""
