"""What every table of a study promises, and how a test reads one."""

TIDY = ["run", "seed", "step", "quantity", "source", "value"]


def of(table, *names, source="measured", **where):
    """The selected numbers by the columns of these names: one row for each point."""
    table = table[table["source"] == source]
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    points = list(zip(*(table[name] for name in names), strict=True))
    assert len(set(points)) == len(points) > 0
    return dict(zip(points, table["value"], strict=True))
