"""Finding all objects that are like examples: grid, lessons, heads, candidates and confidence."""
