"""TOML texts that would take memory or depth without end are refused; all others are read as they are."""

import tracemalloc

import pytest

from advverify.verifier.errors import InvalidInput
from advverify.verifier.toml_text import read_toml


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{b = " * 100_000,
        "a." * 100_000 + "b = 1",
        "[" + "a . " * 100_000 + "b]",
        "x = 1\n" + '"a".' * 100_000 + "b = 1",
        "'a'.\"b\"." * 50_000 + "b = 1",
        "a" * 500_000,
    ],
    ids=["arrays", "tables", "dotted", "headers", "quoted", "mixed", "one word"],
)
def test_texts_without_end(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="nested too deeply|not a TOML file"):
            read_toml(text)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_deep_and_dotted_texts_that_are_fine() -> None:
    deep = read_toml("a." * 20 + "b = 1\nnumbers = [" + "1.5, " * 1000 + "]\ntext = '../x.y/z.onnx'")
    assert len(deep["numbers"]) == 1000 and deep["text"] == "../x.y/z.onnx"


@pytest.mark.parametrize("text", ["a = 0x" + "f" * 5000, "a = " + "9" * 6000, "[[a]]\nb = [{c = 0b" + "1" * 129 + "}]"])
def test_numbers_of_thousands_of_digits_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_toml(text)
    assert len(str(caught.value)) < 300
