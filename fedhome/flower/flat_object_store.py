"""Flower's store of objects in memory, for trees that strangers to each other announce.

An object is known by the hash of its content, and has the children that whoever announced it first
has said. Flower follows these one inside the other: of a few objects, each announced as many times
the child of the next, the tree has more nodes than any memory. Here each object is in a tree once.
"""

from __future__ import annotations

from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.object_store import NoObjectInStoreError, ObjectStoreFactory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore


class FlatObjectStore(InMemoryObjectStore):
    """A store whose trees name each object once, and which follows no child into itself."""

    def get_object_tree(self, object_id: str) -> ObjectTree:
        """Return an object and all that it consists of, each once, as its children.

        Args:
            object_id: Its name.

        Raises:
            NoObjectInStoreError: It, or a part of it, is not there.
        """
        with self.lock_store:
            found: dict[str, None] = {}
            open_ones = [object_id]
            while open_ones:
                name = open_ones.pop()
                entry = self.store.get(name)
                if entry is None:
                    raise NoObjectInStoreError(f"object {name[:8]} is not here")
                if name not in found:
                    found[name] = None
                    open_ones += entry.child_object_ids
            parts = [ObjectTree(object_id=name) for name in found if name != object_id]
            return ObjectTree(object_id=object_id, children=parts)

    def delete(self, object_id: str) -> None:
        """Delete an object that is no other's part, and what is only its part.

        Args:
            object_id: Its name; an unknown one is no error.
        """
        with self.lock_store:
            open_ones = [object_id]
            while open_ones:
                name = open_ones.pop()
                entry = self.store.get(name)
                if entry is None or entry.ref_count:
                    continue
                del self.store[name]
                for run in entry.runs:
                    self.run_objects_mapping.get(run, set()).discard(name)
                for child in entry.child_object_ids:
                    self.store[child].ref_count -= 1
                    open_ones.append(child)


def flatten(factory: ObjectStoreFactory) -> FlatObjectStore:
    """Let a SuperLink that has not begun keep its objects so, and return the store.

    Args:
        factory: Its own.
    """
    store = FlatObjectStore()
    factory.store_instance = store
    return store
