"""How steps are taken: the loop, one step or a recorded one, several runs at a time, several processes."""
