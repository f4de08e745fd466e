from __future__ import annotations

import click
import pytest

from graphopt.cli.values import COUNT, FACTOR, MILLISECONDS, SHARE, SIZE, Quantity


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [
        (MILLISECONDS, "8ms", 8),
        (MILLISECONDS, "8", 8),
        (MILLISECONDS, "0.008s", 8),
        (MILLISECONDS, "8 MS", 8),
        (MILLISECONDS, "250us", 0.25),
        (MILLISECONDS, "1e-2 s", 10),
        (FACTOR, "1.5", 1.5),
        (FACTOR, "1.5x", 1.5),
        (FACTOR, "1X", 1),
        (SHARE, "1%", 0.01),
        (SHARE, "1 %", 0.01),
        (SHARE, "0.01", 0.01),
        (SHARE, ".5", 0.5),
        (SHARE, "0", 0),
        (SHARE, "100%", 1),
        (COUNT, "2.5M", 2_500_000),
        (COUNT, "300k", 300_000),
        (COUNT, "1.8G", 1_800_000_000),
        (COUNT, "0", 0),
        (SIZE, "900kB", 900_000),
        (SIZE, "2MiB", 2 * 1024**2),
        (SIZE, "1.5 mb", 1_500_000),
        (SIZE, "17", 17),
    ],
)
def test_values(kind: Quantity, text: str, number: float) -> None:
    assert kind.convert(text, None, None) == pytest.approx(number)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (MILLISECONDS, "8 minutes", "is no time; write it like 8ms"),
        (MILLISECONDS, "", "is no time"),
        (MILLISECONDS, "0", "must be above 0"),
        (MILLISECONDS, "-1ms", "must be above 0"),
        (MILLISECONDS, "1e999", "must be above 0"),
        (MILLISECONDS, "nan", "is no time"),
        (FACTOR, "0.5", "must be at least 1"),
        (FACTOR, "150%", "is no factor"),
        (SHARE, "-1%", "must not be negative"),
        (SHARE, "1", "'1' is 100 %; if that is meant, write it so"),
        (COUNT, "many", "is no count"),
        (SIZE, "3 files", "is no size"),
    ],
)
def test_what_is_no_value(kind: Quantity, text: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert message in str(caught.value)
