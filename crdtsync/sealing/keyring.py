"""The keys that a replica holds in memory: epoch keys, and from them salts and data keys.

    epoch key E   sealed to each reader, or wrapped under a later epoch; must hash to its id
    salt S        HKDF(E, subject)
    data key D    random, wrapped under S, carried by a KeyObject outside the log

Nothing here is written to a disk: an epoch key is opened again from the membership log at each start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crdtsync import limits
from crdtsync.errors import NotFound, SealBroken
from crdtsync.ids import DataKeyId, EpochId, base32
from crdtsync.replication.stored import KeyObject, key_object
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.cache import Cache
from crdtsync.sealing.derivation import derive

KEY_BYTES: Final = 32
_DOMAIN_PARENT: Final = b"crdtsync/parent-epoch/1"


class Keyring:
    """Epoch keys by id, with bounded caches of salts and opened data keys (L7)."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._epochs: dict[EpochId, bytes] = {}
        self._salts: Cache[tuple[EpochId, str], bytes] = Cache(limits.salts_cached_max)
        self._data_keys: Cache[DataKeyId, bytes] = Cache(limits.data_keys_cached_max)

    def __repr__(self) -> str:
        return f"Keyring({len(self._epochs)} epochs)"

    # --- epochs ----------------------------------------------------------------------------------------------------

    def new_epoch(self) -> tuple[EpochId, bytes]:
        """Draw a new epoch key and keep it. The caller seals it to the readers and publishes it."""
        key = self._sealer.random(KEY_BYTES)
        return self.learn(key), key

    def learn(self, key: bytes) -> EpochId:
        """Keep an epoch key that is at hand; its id follows from it."""
        epoch = self._sealer.epoch_id(key)
        self._epochs[epoch] = key
        return epoch

    def learn_sealed(self, epoch: EpochId, info: bytes, sealed: bytes) -> None:
        """Open an epoch key that was sealed to this replica, and keep it.

        Raises SealBroken when it does not open, or is another key than its id says.
        """
        if epoch not in self._epochs:
            self._keep(epoch, self._sealer.open_sealed(info, sealed))

    def learn_wrapped(self, parent: EpochId, wrapped: bytes, under: EpochId) -> None:
        """Open the key of `parent`, wrapped under the known epoch `under`, and keep it.

        Raises NotFound when `under` is not known here, SealBroken as `learn_sealed` does.
        """
        if parent not in self._epochs:
            self._keep(parent, self._sealer.unwrap(_parent_key(self.key(under), parent), wrapped))

    def wrap_parents(self, new_key: bytes, parents: Iterable[EpochId]) -> tuple[tuple[EpochId, bytes], ...]:
        """The keys of `parents`, each wrapped under `new_key` (40 bytes), so that a newcomer reads history.

        Raises NotFound for a parent that is not known here.
        """
        return tuple((parent, self._sealer.wrap(_parent_key(new_key, parent), self.key(parent))) for parent in parents)

    def has(self, epoch: EpochId) -> bool:
        """Whether the key of `epoch` is here."""
        return epoch in self._epochs

    def epochs(self) -> frozenset[EpochId]:
        """The epochs whose keys are here."""
        return frozenset(self._epochs)

    def key(self, epoch: EpochId) -> bytes:
        """The key of `epoch`. Raises NotFound."""
        try:
            return self._epochs[epoch]
        except KeyError:
            raise NotFound(f"the key of epoch {base32(epoch)} is not here yet; wait for the next contact") from None

    def _keep(self, epoch: EpochId, key: bytes) -> None:
        if len(key) != KEY_BYTES or self._sealer.epoch_id(key) != epoch:
            raise SealBroken("an epoch key that is not the one its id names")
        self._epochs[epoch] = key

    # --- subjects and data keys ------------------------------------------------------------------------------------

    def salt(self, epoch: EpochId, subject: str) -> bytes:
        """The salt S of `subject` in `epoch`. Raises NotFound when the epoch's key is not here."""
        place = (epoch, subject)
        salt = self._salts.get(place)
        if salt is None:
            salt = self._sealer.subject_salt(self.key(epoch), subject)
            self._salts.put(place, salt)
        return salt

    def new_data_key(self, epoch: EpochId, subject: str) -> tuple[bytes, KeyObject]:
        """A new random data key for `subject`, and the object that carries it to others.

        The object must be synced to disk before the first commit that uses the key (L1). Raises NotFound when the
        epoch's key is not here.
        """
        data_key = self._sealer.random(KEY_BYTES)
        carrier = key_object(epoch, subject, self._sealer.wrap(self.salt(epoch, subject), data_key))
        self._data_keys.put(carrier.id, data_key)
        return data_key, carrier

    def open_data_key(self, carrier: KeyObject) -> bytes:
        """The data key that `carrier` (whose id was checked when it came in) carries.

        Raises NotFound when its epoch's key is not here yet, SealBroken when it does not open.
        """
        data_key = self._data_keys.get(carrier.id)
        if data_key is None:
            data_key = self._sealer.unwrap(self.salt(carrier.epoch, carrier.subject), carrier.wrapped)
            self._data_keys.put(carrier.id, data_key)
        return data_key

    def forget_data_keys(self, ids: Iterable[DataKeyId]) -> None:
        """Forget opened data keys, as their erasure asks for."""
        self._data_keys.forget(ids)


def _parent_key(key: bytes, parent: EpochId) -> bytes:
    return derive(key, b"", _DOMAIN_PARENT + parent)
