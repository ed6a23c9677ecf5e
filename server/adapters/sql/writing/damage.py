"""Recording of detected damage and its repair."""

from collections.abc import Callable

from sqlalchemy import Connection, bindparam, select, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.tables.instances import instances
from server.model.damage import Damage, damage_of

_READ = Prepared(select(instances.c.damage).where(instances.c.version == bindparam("version")).with_for_update())
_WRITE = Prepared(
    update(instances).where(instances.c.version == bindparam("of_version")).values(damage=bindparam("damage"))
)


def change_damage(connection: Connection, version: int, change: Callable[[Damage], Damage]) -> None:
    """Change the recorded damage of an instance; no effect if it is deleted."""
    row = _READ.row(connection, {"version": version})
    if row is None:
        return
    changed = change(damage_of(row.damage)).text()
    if changed != row.damage:
        _WRITE.run(connection, [{"of_version": version, "damage": changed}])
