"""Reading instances, their metadata, frames and bulk data."""

from server.model.ids import PartitionName
from server.model.instance import BulkElement, PixelLayout
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref

NOWHERE = PartitionName("nowhere")


def table(frames: int) -> bytes:
    """Return a frame table: frame n (from 1) is at 1000 n to 1000 n + 10."""
    numbers = (number for n in range(1, frames + 1) for number in (1000 * n, 1000 * n + 10))
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def encapsulated(frames: int) -> PixelLayout:
    return PixelLayout(frames, offset=500, length=9_000_000_000, bits_allocated=8, frame_bits=0, table=table(frames))


async def test_find_returns_a_study_in_order_of_version(index: InstanceIndex) -> None:
    new = [sample(1, series, instance) for series, instance in ((2, 1), (1, 1), (2, 2), (1, 2), (3, 1))]
    await index.add([*new, sample(2)], NOON)
    found, after = [], 0
    while page := await index.find(study_ref(), after, limit=2):
        found += page
        after = page[-1].version
    assert [stored.id for stored in found] == [instance.id for instance in new]


async def test_find_stays_within_series_and_instance(index: InstanceIndex) -> None:
    await index.add([sample(1, 1, 1), sample(1, 2, 1), sample(1, 1, 2), sample(2, 1, 1)], NOON)
    assert [s.id for s in await index.find(series_ref())] == [identity(1, 1, 1), identity(1, 1, 2)]
    assert [s.id for s in await index.find(identity(1, 2, 1).address)] == [identity(1, 2, 1)]
    assert len(await index.find(EVERYTHING)) == 4


async def test_find_of_an_unknown_resource_is_empty(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    for resource in (study_ref(9), series_ref(1, 9), identity(1, 1, 9).address, study_ref(1, NOWHERE)):
        assert await index.find(resource) == []
        assert await index.metadata(resource, after=0, limit=9) == []


async def test_a_series_is_not_found_under_another_study(index: InstanceIndex) -> None:
    await index.add([sample(1), sample(2)], NOON)
    wrong = identity(1)
    assert wrong.address.study is not None
    mixed = type(wrong)(wrong.partition, identity(2).study, wrong.series, wrong.instance)
    assert await index.find(mixed.address) == []
    assert await index.state(mixed.address) is None


async def test_metadata_is_returned_in_pages_in_order_of_version(index: InstanceIndex) -> None:
    await index.add([sample(1, n % 2, n, dicom_json=b"{%d}" % n) for n in (5, 3, 4, 1)], NOON)
    first = await index.metadata(study_ref(), after=0, limit=3)
    rest = await index.metadata(study_ref(), after=first[-1].version, limit=3)
    assert [item.dicom_json for item in first + rest] == [b"{5}", b"{3}", b"{4}", b"{1}"]
    assert [item.id for item in rest] == [identity(1, 1, 1)]


async def test_all_instances_can_be_listed_by_version(index: InstanceIndex) -> None:
    await index.add([sample(n) for n in (2, 1, 3)], NOON)
    first = await index.locators(after=0, limit=2)
    rest = await index.locators(after=first[-1].version, limit=2)
    assert [stored.id for stored in first + rest] == [identity(2), identity(1), identity(3)]


async def test_requested_frames_have_their_records(index: InstanceIndex) -> None:
    await index.add([sample(pixels=encapsulated(5))], NOON)
    found = await index.frames(identity(), [4, 1, 4])
    assert found is not None
    stored, layout, records = found
    assert stored.id == identity()
    assert layout == PixelLayout(5, offset=500, length=9_000_000_000, bits_allocated=8, frame_bits=0)
    assert records == {1: (1000, 1010), 4: (4000, 4010)}


async def test_frames_beyond_the_last_and_below_the_first_are_left_out(index: InstanceIndex) -> None:
    await index.add([sample(pixels=encapsulated(2))], NOON)
    found = await index.frames(identity(), [0, -1, 2, 3, 2**40])
    assert found is not None
    assert found[2].keys() == {2}


async def test_all_frames_of_a_very_long_object_have_records(index: InstanceIndex) -> None:
    frames = 5_000
    await index.add([sample(pixels=encapsulated(frames))], NOON)
    wanted = [1, 1023, 1024, 1025, 2048, 2049, 4999, 5000]
    found = await index.frames(identity(), wanted)
    assert found is not None
    assert found[2] == {n: (1000 * n, 1000 * n + 10) for n in wanted}


async def test_native_pixel_data_has_a_layout_and_no_records(index: InstanceIndex) -> None:
    layout = PixelLayout(3, offset=900, length=12, bits_allocated=1, frame_bits=9)
    await index.add([sample(pixels=layout)], NOON)
    found = await index.frames(identity(), [1, 2])
    assert found is not None
    assert found[1:] == (layout, {})


async def test_an_instance_without_pixel_data_has_no_layout(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    found = await index.frames(identity(), [1])
    assert found is not None
    assert found[1:] == (None, {})


async def test_there_are_no_frames_of_an_unknown_instance(index: InstanceIndex) -> None:
    await index.add([sample(pixels=encapsulated(1))], NOON)
    assert await index.frames(identity(1, 1, 2), [1]) is None
    assert await index.frames(identity(partition=NOWHERE), [1]) is None


async def test_bulk_elements_are_found_by_path(index: InstanceIndex) -> None:
    elements = (
        BulkElement("7FE00010", "OW", 2000, 5_000_000_000),
        BulkElement("54000100/1/54001010", "OW", 300, 0),
    )
    await index.add([sample(bulk=elements), sample(instance=2)], NOON)
    for element in elements:
        found = await index.bulk(identity(), element.path)
        assert found is not None
        assert (found[0].id, found[1]) == (identity(), element)


async def test_an_unknown_path_is_not_an_unknown_instance(index: InstanceIndex) -> None:
    await index.add([sample(bulk=(BulkElement("7FE00010", "OW", 1, 2),))], NOON)
    found = await index.bulk(identity(), "7FE00011")
    assert found is not None
    assert (found[0].id, found[1]) == (identity(), None)
    assert await index.bulk(identity(1, 1, 2), "7FE00010") is None
    assert await index.bulk(identity(partition=NOWHERE), "7FE00010") is None


async def test_bulk_elements_of_an_instance_are_returned_in_pages_by_path(index: InstanceIndex) -> None:
    paths = ["54000100/1/54001010", "54000100/10/54001010", "54000100/2/54001010", "7FE00010", "00282000"]
    elements = tuple(BulkElement(path, "OW", number, 5_000_000_000) for number, path in enumerate(paths))
    await index.add([sample(bulk=elements), sample(instance=2, bulk=(BulkElement("00282000", "OB", 1, 2),))], NOON)
    [stored] = await index.find(identity().address)
    first = await index.bulk_elements(stored.id, stored.version, "", 3)
    rest = await index.bulk_elements(stored.id, stored.version, first[-1].path, 3)
    assert first + rest == sorted(elements, key=lambda element: element.path)
    await index.delete(identity().address, NOON, NOON)
    assert await index.bulk_elements(stored.id, stored.version, "", 3) == []


async def test_the_version_at_a_position_is_that_of_the_instance_there(index: InstanceIndex) -> None:
    await index.add([sample(1, n % 2, n) for n in (5, 3, 4, 1)] + [sample(2)], NOON)
    for resource in (study_ref(), series_ref(1, 1), identity(1, 0, 4).address, EVERYTHING):
        versions = [stored.version for stored in await index.find(resource)]
        found = [await index.version_at(resource, position) for position in range(len(versions) + 1)]
        assert found == [*versions, None]
    for nowhere in (study_ref(9), study_ref(1, NOWHERE)):
        assert await index.version_at(nowhere, 0) is None
