"""The engine, whatever is trained: numbered samples, exact resume, EMA, progress."""
