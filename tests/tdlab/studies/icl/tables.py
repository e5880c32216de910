"""What the tables of the in-context-learning study promise, and how a test reads them."""

from tests.tdlab.studies.tidy import TIDY

RISKS = {"hinge", "zero_one"}
MEASURED = RISKS | {"concentration", "entropy"}


def where(table, **values):
    for name, wanted in values.items():
        table = table[table[name] == wanted]
    return table


def number(table, **values):
    (only,) = where(table, **values)["value"].tolist()
    return only


def assert_tidy(table, *axes, key):
    """The promised columns, one row for each point of the key, and nothing unmeasured."""
    assert list(table.columns[:6]) == TIDY
    assert set(axes) <= set(table.columns)
    measured = where(table, source="measured")
    assert not measured.duplicated(["quantity", "seed", "step", *key]).any()
    assert measured["value"].notna().all()
    assert set(table["source"]) <= {"measured", "theory"}
