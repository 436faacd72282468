"""What a site keeps for itself until people decide, sealed: it is read nowhere else, and by nobody who has the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from crdtsync.errors import DamagedFile, SealBroken, TooLarge
from crdtsync.ids import ReplicaId
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store

_DOMAIN: Final = b"crdtsync/kept/1"
_SALT: Final = bytes(32)


class Kept:
    """Small values of a store, as JSON, each sealed under `key` (32 bytes) for its name.

    They lie in `log.db`, so what is written beside commits is written exactly when these are.
    """

    def __init__(self, store: Store, sealer: Sealer, key: bytes, replica: ReplicaId) -> None:
        self._store = store
        self._sealer = sealer
        self._key = key
        self._place = _DOMAIN + replica

    def sealed(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        """The values as they are written; None removes one."""
        return {name: None if value is None else self._seal(name, value) for name, value in values.items()}

    def write(self, values: Mapping[str, Any]) -> None:
        """Write values in one synced transaction; None removes one."""
        self._store.set_meta(self.sealed(values))

    def read(self, name: str) -> Any:
        """A value, None when there is none. Raises DamagedFile when it is not what was written."""
        data = self._store.meta(name)
        if data is None:
            return None
        try:
            return json.loads(self._sealer.open(self._key, _SALT, self._place + name.encode(), data))
        except (SealBroken, TooLarge, ValueError):
            raise DamagedFile(
                f"log.db: what this site keeps under {name} is not what was written; restore the folder from a backup"
            ) from None

    def has(self, name: str) -> bool:
        """Whether there is such a value."""
        return self._store.meta(name) is not None

    def _seal(self, name: str, value: Any) -> bytes:
        plain = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return self._sealer.seal(self._key, _SALT, self._place + name.encode(), plain)
