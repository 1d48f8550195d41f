"""The checker of annotations in the test run; an integer may stand where a number is annotated (PEP 484)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
