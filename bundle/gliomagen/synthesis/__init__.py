"""Label maps that did not exist: variants, lesion edits, and the judgement of what was made from them."""
