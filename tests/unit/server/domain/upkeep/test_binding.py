"""A data directory and an index are checked to belong to one archive (server/domain/upkeep/binding.py)."""

from contextlib import suppress

import pytest

from server.domain.upkeep.binding import ArchiveMismatch, Binding, binding_of
from server.model.archive import BlobsIdentity, IndexIdentity


def blobs(id_: str | None = None, *, is_bound: bool = True, has_blobs: bool = False) -> BlobsIdentity:
    return BlobsIdentity("/data", id_, is_bound and id_ is not None, has_blobs)


def index(
    id_: str | None = None, *, is_new: bool = False, has_instances: bool = False, damage: str = ""
) -> IndexIdentity:
    return IndexIdentity("/data/index.db", id_, is_new, has_instances, damage)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (blobs("a", has_blobs=True), index("a", has_instances=True), Binding.BOUND),
        (blobs("a"), index("a"), Binding.BOUND),
        (blobs("a"), index("a", is_new=True), Binding.BOUND),
        (blobs(), index(is_new=True), Binding.TO_BIND),
        (blobs(), index(is_new=True, damage="the file has 0 bytes"), Binding.TO_BIND),
        (blobs("a"), index(is_new=True), Binding.TO_BIND),
        (blobs("a", is_bound=False), index(is_new=True), Binding.TO_BIND),
        (blobs("a", is_bound=False), index("a", is_new=True), Binding.TO_BIND),
        (blobs(has_blobs=True), index(has_instances=True), Binding.TO_BIND),
        (blobs("a", is_bound=False, has_blobs=True), index(has_instances=True), Binding.TO_BIND),
        (blobs(has_blobs=True), index(), Binding.TO_BIND),
        (blobs(), index(), Binding.TO_BIND),
    ],
)
def test_matching_identities_are_accepted(one: BlobsIdentity, other: IndexIdentity, expected: Binding) -> None:
    assert binding_of(one, other) is expected


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (blobs("a", has_blobs=True), index("b", has_instances=True), "belongs to another archive"),
        (blobs("a"), index("b", is_new=True), "belongs to another archive"),
        (blobs("a", has_blobs=True), index(has_instances=True), "belongs to another archive"),
        (blobs("a"), index(), "belongs to another archive"),
        (blobs(), index("b"), "whose bytes are not in"),
        (blobs(has_blobs=True), index("b", has_instances=True), "whose bytes are not in"),
        (blobs(), index(has_instances=True), "whose bytes are not in"),
        (blobs("a", has_blobs=True), index(is_new=True), "the index was lost"),
        (blobs(has_blobs=True), index(is_new=True), "the index was lost"),
        (blobs("a", is_bound=False, has_blobs=True), index(is_new=True), "the index was lost"),
        (blobs(has_blobs=True), index(is_new=True, damage="the file has 0 bytes"), "the file has 0 bytes"),
        (blobs("a"), index(is_new=True, damage="the file has 0 bytes"), "the file has 0 bytes"),
        (blobs(), index(damage="the file is not an SQLite database"), "not an SQLite database"),
        (blobs("a", has_blobs=True), index(damage="database disk image is malformed"), "malformed"),
    ],
)
def test_other_combinations_are_refused_with_a_cause(one: BlobsIdentity, other: IndexIdentity, message: str) -> None:
    with pytest.raises(ArchiveMismatch, match=message) as caught:
        binding_of(one, other)
    assert "/data/index.db" in str(caught.value)
    assert "DICOMSTORE_DATA" in str(caught.value)


@pytest.mark.parametrize("has_blobs", [False, True])
@pytest.mark.parametrize("has_instances", [False, True])
def test_an_interrupted_binding_is_repeated_whichever_side_was_written(has_blobs: bool, has_instances: bool) -> None:
    before = IndexIdentity("/data/index.db", None, not has_instances, has_instances)
    with suppress(ArchiveMismatch):
        assert binding_of(blobs(has_blobs=has_blobs), before) is Binding.TO_BIND
        assert binding_of(blobs("a", is_bound=False, has_blobs=has_blobs), before) is Binding.TO_BIND
        after = IndexIdentity("/data/index.db", "a", not has_instances, has_instances)
        assert binding_of(blobs("a", is_bound=False, has_blobs=has_blobs), after) is Binding.TO_BIND
        assert binding_of(blobs("a", has_blobs=has_blobs), after) is Binding.BOUND
