"""Flower's store of objects in memory, for messages that strangers to each other announce.

An object is known by the hash of its content. What it consists of, Flower takes from whoever
announced it first, and follows that one inside the other: of a few objects, each announced as many
times the child of the next, the tree has more nodes than any memory; and who announces one object
in two ways, or one message as the part of another, lets what he has sent stay when the message is
gone. Here an object stays for as long as a message that names it, and nothing else counts.
"""

from __future__ import annotations

from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import is_valid_sha256_hash, iterate_object_tree
from flwr.supercore.object_store import NoObjectInStoreError, ObjectStoreFactory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore, ObjectEntry


class FlatObjectStore(InMemoryObjectStore):
    """A store of messages, each with all that it names side by side.

    An entry's `ref_count` says how many messages name it as a part.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[str, dict[str, None]] = {}  # of each message

    def preregister(self, run_id: int, object_tree: ObjectTree) -> list[str]:
        """Note a message and what it names, besides what it has named before.

        Args:
            run_id: Its run.
            object_tree: Its tree.

        Returns:
            Names of the objects that are not there yet, each once, the message's own last.

        Raises:
            ValueError: A name is none.
        """
        names = dict.fromkeys(one.object_id for one in iterate_object_tree(object_tree))
        for name in names:
            if not is_valid_sha256_hash(name):
                raise ValueError(f"{name[:80]!r} is no name of an object")
        message = object_tree.object_id
        with self.lock_store:
            of_run = self.run_objects_mapping.setdefault(run_id, set())
            parts = self._parts.setdefault(message, {})
            for name in names:
                entry = self.store.get(name)
                if entry is None:
                    entry = self.store[name] = ObjectEntry(
                        content=b"",
                        is_available=False,
                        child_object_ids=[],
                        ref_count=0,
                        runs=set(),
                    )
                entry.runs.add(run_id)
                of_run.add(name)
                if name != message and name not in parts:
                    parts[name] = None
                    entry.ref_count += 1
            return [name for name in names if not self.store[name].is_available]

    def get_object_tree(self, object_id: str) -> ObjectTree:
        """Return a message and all that it names, each once, as its children.

        Args:
            object_id: Its name.

        Raises:
            NoObjectInStoreError: It is not there.
        """
        with self.lock_store:
            if object_id not in self.store:
                raise NoObjectInStoreError(f"object {object_id[:8]} is not here")
            children = [ObjectTree(object_id=name) for name in self._parts.get(object_id, ())]
        return ObjectTree(object_id=object_id, children=children)

    def delete(self, object_id: str) -> None:
        """Delete a message, and what no other one names.

        Args:
            object_id: Its name; one of a part, or of nothing, is no error.
        """
        with self.lock_store:
            for part in self._parts.pop(object_id, ()):
                self.store[part].ref_count -= 1
                self._drop(part)
            self._drop(object_id)

    def _drop(self, name: str) -> None:
        """Delete an object that is neither a message nor named by one."""
        entry = self.store.get(name)
        if entry is None or entry.ref_count or name in self._parts:
            return
        del self.store[name]
        for run in entry.runs:
            self.run_objects_mapping.get(run, set()).discard(name)

    def delete_objects_in_run(self, run_id: int) -> None:
        """Delete a run's messages, and what no other run's names."""
        with self.lock_store:
            for name in list(self.run_objects_mapping.get(run_id, ())):
                if name in self._parts:
                    self.delete(name)
            self.run_objects_mapping.pop(run_id, None)

    def clear(self) -> None:
        """Delete everything."""
        with self.lock_store:
            super().clear()
            self._parts.clear()


def flatten(factory: ObjectStoreFactory) -> FlatObjectStore:
    """Let a SuperLink that has not begun keep its objects so, and return the store.

    Args:
        factory: Its own.
    """
    store = FlatObjectStore()
    factory.store_instance = store
    return store
