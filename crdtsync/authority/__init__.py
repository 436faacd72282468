"""Pure rules of duties that one replica holds at a time: which number comes next, and who may give it."""
