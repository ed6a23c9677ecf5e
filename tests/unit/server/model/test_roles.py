"""Roles and their configuration (docs/security.md, Roles)."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.config import Settings
from server.model.access import FULL_ACCESS, Action, Grant
from server.model.ids import ARCHIVE, parse_address
from server.model.security.roles import Role, Roles

A, B = (parse_address(name) for name in ("a", "b"))
READ = frozenset({Action.READ})
WRITE = frozenset({Action.WRITE})


def configured(**role: object) -> Roles:
    return Settings(roles={"custom": role}).role_table


def test_permissions_are_the_union_of_all_roles() -> None:
    roles = Roles([Role("storing", WRITE), Role("in-a", READ, frozenset({A.partition}))])
    assert roles.grants({"storing", "in-a", "auditor"}) == (
        Grant(WRITE | {Action.AUDIT}, ARCHIVE),
        Grant(READ, A),
    )


def test_a_principal_without_a_known_role_has_no_permission() -> None:
    assert Roles().grants({"unknown", "globalreader"}) == ()
    assert Roles().known({"unknown", "globalReader"}) == {"globalReader"}
    assert Roles().unknown({"unknown", "globalReader"}) == ["unknown"]


def test_the_built_in_roles_are_those_of_the_documentation() -> None:
    assert Roles().grants({"globalAdmin"}) == (FULL_ACCESS,)
    assert Roles().grants({"globalReader"}) == (Grant(READ, ARCHIVE),)
    assert Roles().grants({"writer"}) == (Grant(READ | WRITE, ARCHIVE),)
    assert Roles().grants({"auditor"}) == (Grant(frozenset({Action.AUDIT}), ARCHIVE),)


def test_a_role_has_its_actions_without_the_excluded_ones() -> None:
    [grant] = configured(actions=["*"], not_actions=["delete", "administer"]).grants({"custom"})
    assert grant.actions == frozenset(Action) - {Action.DELETE, Action.ADMINISTER}
    assert configured(actions=["read"], not_actions=["*"]).grants({"custom"}) == ()


def test_the_partitions_of_a_token_limit_those_of_its_roles() -> None:
    roles = configured(actions=["read"], partitions=["a", "b"])
    assert roles.grants({"custom"}) == (Grant(READ, A), Grant(READ, B))
    assert roles.grants({"custom"}, [B.partition]) == (Grant(READ, B),)
    assert roles.grants({"globalReader"}, [B.partition]) == (Grant(READ, B),)
    assert roles.grants({"custom"}, [parse_address("c").partition]) == ()


def test_a_role_without_partitions_is_not_one_with_an_empty_list() -> None:
    assert configured(actions=["read"], partitions=[]).grants({"custom"}) == ()


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("globalAdmin", {"actions": ["read"]}),
        ("custom", {"actions": ["reed"]}),
        ("custom", {"actions": ["read"], "partitions": ["not a name"]}),
        ("custom", {"actions": ["read"], "partition": "a"}),
        ("custom", {}),
    ],
)
def test_an_invalid_role_is_an_error_at_start(name: str, role: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(roles={name: role})


def test_roles_are_tables_of_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "dicomstore.toml"
    file.write_text('[server.roles."ward a"]\nactions = ["read", "write"]\npartitions = ["a"]\n')
    monkeypatch.setenv("DICOMSTORE_CONFIG", str(file))
    assert Settings().role_table.grants({"ward a"}) == (Grant(READ | WRITE, A),)
