"""Sealed parts and the data keys that open them: what a replica can read, and what it cannot read yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crdtsync import limits
from crdtsync.errors import Malformed, SealBroken
from crdtsync.ids import DataKeyId, EpochId, LogId, PracticeId
from crdtsync.replication.commit import Part, PartRef, decode_part, encode_part, part_hash
from crdtsync.replication.stored import KeyObject
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.envelope import open_part, part_context, seal_part
from crdtsync.sealing.keyring import Keyring
from crdtsync.sealing.suite1 import content_key
from crdtsync.storage.base import Store


class Parts:
    """Opens and seals parts for one practice; keeps key objects at hand, bounded (L7)."""

    def __init__(self, store: Store, sealer: Sealer, keyring: Keyring, practice: PracticeId) -> None:
        self._store = store
        self._sealer = sealer
        self._keyring = keyring
        self._practice = practice
        self._objects: dict[DataKeyId, KeyObject] = {}
        self._of_subject: dict[str, KeyObject] = {}

    def prefetch(self, ids: Iterable[DataKeyId]) -> None:
        """Look up key objects in one go."""
        objects = self._objects
        missing = [key for key in ids if key not in objects]
        if missing:
            if len(objects) + len(missing) > limits.key_objects_cached_max:
                objects.clear()
            objects.update(self._store.keys(missing))

    def remember(self, keys: Iterable[KeyObject]) -> None:
        """Keys that were just put on disk are at hand for what comes next."""
        if len(self._objects) > limits.key_objects_cached_max:
            self._objects.clear()
        for key in keys:
            self._objects[key.id] = key

    def unstored(self, keys: Iterable[KeyObject]) -> list[KeyObject]:
        """Those of the keys that are not known to be on disk."""
        return [key for key in keys if key.id not in self._objects]

    def forget(self) -> None:
        """Drop what is kept at hand."""
        self._objects.clear()
        self._of_subject.clear()

    def key(self, key_id: DataKeyId) -> KeyObject | None:
        """The key object, if it is here."""
        key = self._objects.get(key_id)
        if key is None:
            key = self._store.keys([key_id]).get(key_id)
            if key is not None:
                self._objects[key_id] = key
        return key

    def readable(self, key: KeyObject, ref: PartRef) -> bool:
        """Whether both epochs are known: the one that wraps the data key and the one that the part is sealed under."""
        has = self._keyring.has
        return has(ref.epoch) and (key.epoch == ref.epoch or has(key.epoch))

    def open(self, log: LogId, sequence: int, index: int, ref: PartRef, key: KeyObject, sealed: bytes) -> Part:
        """The plain content. Raises SealBroken, Malformed or TooLarge: verdicts that every reader reaches (L6)."""
        keyring = self._keyring
        plain = open_part(
            self._sealer,
            keyring.open_data_key(key),
            keyring.salt(ref.epoch, key.subject),
            self._practice,
            log,
            sequence,
            index,
            ref.epoch,
            ref.key,
            sealed,
        )
        part = decode_part(plain)
        for change in part.changes:
            if not change.kind or not change.record:
                raise Malformed("change: without kind or record")
        return part

    def content_key(self, log: LogId, sequence: int, index: int, ref: PartRef, key: KeyObject) -> bytes:
        """The key that opens this one part, and nothing else. Raises NotFound, SealBroken."""
        keyring = self._keyring
        context = part_context(self._practice, log, sequence, index, ref.epoch, ref.key)
        return content_key(keyring.open_data_key(key), keyring.salt(ref.epoch, key.subject), context)

    def key_for(self, subject: str, epoch: EpochId, introduced: dict[str, KeyObject]) -> tuple[KeyObject, bool]:
        """A data key to seal `subject` with, and whether the commit introduces it: then it is added to `introduced`.

        One that was on disk before this process is introduced again: a crash may have come between it and the commit
        that was to introduce it, and then it would reach nobody by itself.
        """
        key = introduced.get(subject) or self._of_subject.get(subject)
        if key is not None:
            return key, False
        for key in self._store.key_of_subject(subject):
            if self._opens(key):
                self.remember([key])
                introduced[subject] = key
                return key, True
        _, key = self._keyring.new_data_key(epoch, subject)
        introduced[subject] = key
        return key, True

    def adopt(self, keys: Iterable[KeyObject]) -> None:
        """Seal these subjects with these keys from now on; they are on disk."""
        if len(self._of_subject) > limits.key_objects_cached_max:
            self._of_subject.clear()
        for key in keys:
            self._of_subject[key.subject] = key

    def seal(
        self, log: LogId, sequence: int, index: int, epoch: EpochId, key: KeyObject, new: bool, part: Part
    ) -> tuple[PartRef, bytes]:
        """What the header says of the sealed part, and its bytes."""
        keyring = self._keyring
        sealed = seal_part(
            self._sealer,
            keyring.open_data_key(key),
            keyring.salt(epoch, key.subject),
            self._practice,
            log,
            sequence,
            index,
            epoch,
            key.id,
            encode_part(part),
        )
        return PartRef(key.id, epoch, part_hash(sealed), len(sealed), new), sealed

    def introduced(self, refs: Iterable[PartRef]) -> list[KeyObject]:
        """The key objects that travel with commits, in the order in which these name them."""
        ids = list(dict.fromkeys(ref.key for ref in refs if ref.introduces))
        return self.objects(ids)

    def objects(self, ids: Sequence[DataKeyId]) -> list[KeyObject]:
        """Those of the named key objects that are here, in the order asked for."""
        found = self._store.keys(ids)
        return [found[key] for key in ids if key in found]

    def _opens(self, key: KeyObject) -> bool:
        """Whether a key is fit to seal with: anybody may have put an object there that opens to nothing."""
        if not self._keyring.has(key.epoch):
            return False
        try:
            self._keyring.open_data_key(key)
        except SealBroken:
            return False
        return True
