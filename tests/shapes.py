"""The checker of shapes and types that the suite puts on both packages."""

from beartype import BeartypeConf, beartype

# An int is a float here as it is everywhere else in Python's typing (PEP 484's numeric tower).
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
