"""Real disks: what a power cut, a failing call or a full disk leaves of the files, and whether the promises still hold.

    recorder    a C library, loaded in front of the C library of a child process, that writes down every change of the
                files in a folder, and makes the n-th call fail when asked (Linux, needs `cc`)
    trace       what it wrote down
    images      the disk's side: what may be left after a power cut between any two of those changes
    work        a replica's life, played in the child process: real store, engine and host
    duties      what had been acknowledged at any point of it
    verdict     opens an image with the real store, engine and host, and says which promise broke
    planted     stores that are wrong on purpose: each must be found

Run it with `python -m crdtsync.testing.power_cuts`.
"""
