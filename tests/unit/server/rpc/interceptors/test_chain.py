"""Several interceptors as one (`Chain`)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.rpc.interceptors.surround import Chain, Surround


class Noting(Surround):
    """Notes when it is entered and left; may raise, or replace an error."""

    def __init__(self, notes: list[str], name: str, *, fails: bool = False, replaces: bool = False) -> None:
        super().__init__()
        self._notes, self._name, self._fails, self._replaces = notes, name, fails, replaces

    @asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[Any]:
        if self._fails:
            raise ValueError(self._name)
        self._notes.append(f"enter {self._name}")
        try:
            yield [*context, self._name]
        except Exception as error:
            self._notes.append(f"{self._name}: {error}")
            if self._replaces:
                raise KeyError(self._name) from error
            raise
        self._notes.append(f"leave {self._name}")


async def test_interceptors_are_entered_from_the_outside_and_left_from_the_inside() -> None:
    notes: list[str] = []
    chain = Chain([Noting(notes, "a"), Noting(notes, "b")])
    async with chain.around("m", []) as context:
        assert context == ["a", "b"]
    assert notes == ["enter a", "enter b", "leave b", "leave a"]


async def test_an_outer_interceptor_gets_the_error_that_an_inner_one_raised() -> None:
    notes: list[str] = []
    chain = Chain([Noting(notes, "a"), Noting(notes, "b", replaces=True), Noting(notes, "c")])
    with pytest.raises(KeyError):
        async with chain.around("m", []):
            raise ValueError("x")
    assert notes[3:] == ["c: x", "b: x", "a: 'b'"]


async def test_an_interceptor_that_refuses_the_call_is_like_a_failed_handler_for_the_outer_ones() -> None:
    notes: list[str] = []
    chain = Chain([Noting(notes, "a", replaces=True), Noting(notes, "b", fails=True), Noting(notes, "c")])
    with pytest.raises(KeyError):
        async with chain.around("m", []):
            pass
    assert notes == ["enter a", "a: b"]


async def test_an_error_is_raised_as_it_is() -> None:
    error = ValueError("x")
    with pytest.raises(ValueError) as raised:
        async with Chain([Noting([], "a")]).around("m", []):
            raise error
    assert raised.value is error
