"""Commands of the worklist: workitems, and the rules that create them."""
