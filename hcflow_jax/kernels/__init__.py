"""How arithmetic is done where it costs the most; every kernel equals a plain formula."""
