"""Backups of a site: made while it serves, read back before they count, restored as a new boot (DESIGN: backup).

    retention   which backups are kept
    vault       where the parts of backups lie: `folder_vault`, `file_vault`
    index       what one backup is: the description of its pieces, sealed and signed
    pieces      how commits, membership records and data keys lie in pieces
    making      a backup of an open site
    opening     a backup that is read: by passphrase, or by the recovery sheet
    checking    whether every byte of it is as it was written
    restoring   a site's folder from a backup
    rescue      a practice from a backup and the recovery sheet
    schedule    backups at intervals, beside a site that serves
"""

from __future__ import annotations
