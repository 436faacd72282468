"""`crdtsync demo`: three real sites on this machine, cut off from each other and healed."""
