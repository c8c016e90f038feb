"""The downstream study: does a segmenter gain from synthetic cases, how many are needed, and at what cost?"""
