"""A schema as comparable text: what each table, column, constraint, index, trigger and function is."""

from __future__ import annotations

import re

from sqlalchemy.ext.asyncio import AsyncConnection

# "column workflows.status" -> "text not null"
Dump = dict[str, str]

# Names are qualified where PostgreSQL does so by itself; the schema's own name is taken out, so that two compare.
_POSTGRESQL = """
WITH here AS (SELECT current_schema()::regnamespace AS oid, current_schema() AS name),
rel AS (SELECT c.* FROM pg_class c, here WHERE c.relnamespace = here.oid)
SELECT 'table ' || relname, 'kind ' || relkind::text || ', ' || relpersistence::text
  FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION ALL
SELECT 'column ' || relname || '.' || attname,
       concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'not null' END,
                 CASE attidentity WHEN '' THEN NULL ELSE 'identity ' || attidentity::text END,
                 'default ' || pg_get_expr(adbin, adrelid),
                 CASE WHEN attcollation <> typcollation THEN 'collation ' || attcollation::regcollation::text END)
  FROM rel JOIN pg_attribute a ON attrelid = rel.oid JOIN pg_type t ON t.oid = atttypid
  LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
 WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint ' || relname || '.' || conname, pg_get_constraintdef(con.oid)
  FROM rel JOIN pg_constraint con ON conrelid = rel.oid
UNION ALL
SELECT 'index ' || relname, pg_get_indexdef(rel.oid) FROM rel WHERE relkind IN ('i', 'I')
UNION ALL
SELECT 'trigger ' || relname || '.' || tgname, pg_get_triggerdef(t.oid) || ' enabled ' || tgenabled::text
  FROM rel JOIN pg_trigger t ON tgrelid = rel.oid WHERE NOT tgisinternal
UNION ALL
SELECT 'function ' || proname, pg_get_functiondef(p.oid)
  FROM pg_proc p, here WHERE pronamespace = here.oid AND proname LIKE 'hookledger%'
"""


def _pieces(body: str) -> list[str]:
    """Split the inside of a CREATE TABLE at its outermost commas."""
    pieces, depth, quote, begin = [], 0, "", 0
    for place, char in enumerate(body):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "," and depth == 0:
            pieces.append(body[begin:place])
            begin = place + 1
    return [piece.strip() for piece in (*pieces, body[begin:])]


def _sqlite_table(name: str, sql: str) -> Dump:
    head, _, rest = sql.partition("(")
    body, _, tail = rest.rpartition(")")
    found = {f"table {name}": f"{' '.join(head.split()[:2])}{tail}"}
    # One by one: a column that was added later stands behind the constraints, and means the same there.
    for piece in _pieces(body):
        constraint = re.match(r'(?:CONSTRAINT "?(\w+)"?|(?:PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY)\b)', piece)
        if constraint is None:
            found[f"column {name}.{piece.split()[0].strip(chr(34))}"] = piece
        else:
            found[f"constraint {name}.{constraint.group(1) or piece}"] = piece
    return found


async def _sqlite(conn: AsyncConnection) -> Dump:
    found: Dump = {}
    rows = await conn.exec_driver_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    for row in rows.all():
        kind, name, table, sql = tuple(row)
        text = " ".join(sql.split())
        if kind == "table":
            found |= _sqlite_table(name, text)
        else:
            found[f"{kind} {name}" if kind != "trigger" else f"trigger {table}.{name}"] = text
    return found


async def schema(conn: AsyncConnection) -> Dump:
    """Return everything in the connection's schema (PostgreSQL: the first on its search path)."""
    if conn.dialect.name == "sqlite":
        return await _sqlite(conn)
    here = (await conn.exec_driver_sql("SELECT quote_ident(current_schema())")).scalar_one()
    rows = (await conn.exec_driver_sql(_POSTGRESQL)).all()
    said = {str(row[0]): str(row[-1]) for row in rows}
    return {what: " ".join(text.replace(f"{here}.", "").split()) for what, text in said.items()}


def differences(found: Dump, wanted: Dump) -> list[str]:
    """Return one sentence for each thing that is missing, too much or other than wanted."""
    said = []
    for what in sorted(found.keys() | wanted.keys()):
        if what not in found:
            said.append(f"{what} is missing")
        elif what not in wanted:
            said.append(f"{what} is not part of the schema")
        elif found[what] != wanted[what]:
            said.append(f"{what} is {found[what]!r}, not {wanted[what]!r}")
    return said
