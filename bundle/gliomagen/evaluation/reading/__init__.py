"""The reader study: a blinded pack of scans to judge, and what the judgements say."""
