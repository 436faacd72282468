"""`python -m crdtsync.cli` is `crdtsync`."""

from crdtsync.cli import main

main()
