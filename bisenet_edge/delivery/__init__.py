"""Bundles to devices over the user's own OpenSSH: push, install, watch, go back. No torch in here.

    target.py   which devices: names that ssh takes, an inventory file
    ssh.py      one connection, kept open while a device is worked on
    device.py   what a device is and what it runs
    fitness.py  whether it can take a bundle
    push.py     a file to a device, going on where it stopped
    job.py      a script that runs on, on the device, when the connection is cut
    session.py  the work on one device, over as many connections as it takes
    deliver.py  one bundle to one device, from the first look to the switch
    fleet.py    many devices: canaries, then the others side by side
    upkeep.py   status, rollback, prune

What runs on a device is fixed text, `deploy/remote/*.sh`; values go to it as arguments only.
"""
