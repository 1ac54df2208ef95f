"""Every fault of an input file is found, with its line, and a good file has none."""

from typing import Any

import orjson
import pytest

from app.core.batch.input_check import MAX_ERRORS, InputCheck, LineBounds, inputs_of
from app.core.batch.state import LineError

GOOD: dict[str, Any] = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "m", "input": ["a", "b"]},
}


def checked(*lines: object, max_lines: int = 10, max_inputs: int = 20) -> InputCheck:
    bounds = LineBounds(max_lines=max_lines, max_inputs=max_inputs)
    check = InputCheck(url="/v1/embeddings", bounds=bounds, serves=lambda model: model == "m")
    for number, line in enumerate(lines, 1):
        check.feed(number, line if isinstance(line, bytes) else orjson.dumps(line))
    check.finish()
    return check


def good(custom_id: str, **changes: object) -> dict[str, Any]:
    return {**GOOD, "custom_id": custom_id, **changes}


def test_a_good_file_has_no_fault() -> None:
    check = checked(good("1"), b"", good("2", body={"model": "m", "input": "one"}), b"  \r", good("ü" * 512))
    assert (check.errors, check.model, check.lines, check.inputs) == ([], "m", 3, 5)


@pytest.mark.parametrize(
    ("line", "code", "param", "message"),
    [
        (b"{", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (b"[1]", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (b'{"custom_id":"\xff"}', "invalid_json_line", None, "This line is not parseable as valid JSON."),
        *(
            ({k: v for k, v in good("9").items() if k != name}, "missing_required_parameter", name, f"'{name}'")
            for name in GOOD
        ),
        (good("9", url=None), "missing_required_parameter", "url", "Missing required parameter: 'url'."),
        (good("9", url="/v1/chat/completions"), "invalid_url", "url", "does not match the batch endpoint"),
        (good("9", method="GET"), "invalid_method", "method", "must be 'POST'"),
        (good("1"), "duplicate_custom_id", "custom_id", "The custom_id '1' for this request is a duplicate"),
        (good(""), "invalid_request", "custom_id", "1 to 512"),
        (good("x" * 513), "invalid_request", "custom_id", "1 to 512"),
        ({**GOOD, "custom_id": 9}, "invalid_request", "custom_id", "string"),
        (good("9", body=[]), "invalid_request", "body", "JSON object"),
        (good("9", body={"input": "a"}), "invalid_request", "body.model", "Model parameter is required."),
        (good("9", body={"model": "n", "input": "a"}), "mismatched_model", "body.model", "single model"),
    ],
)
def test_faults_are_named_with_their_line(line: object, code: str, param: str | None, message: str) -> None:
    (error,) = checked(good("1"), line, good("2")).errors
    assert (error.code, error.param, error.line) == (code, param, 2)
    assert message in error.message


def test_an_unknown_model_is_named() -> None:
    check = checked(good("1", body={"model": "n"}))
    assert check.errors == [
        LineError("model_not_found", "The provided model 'n' is not supported by the Batch API.", "body.model", 1)
    ]


@pytest.mark.parametrize("lines", [(), (b"",), (b"\n", b" ")])
def test_an_empty_file_is_said_so(lines: tuple[bytes, ...]) -> None:
    (error,) = checked(*lines).errors
    assert (error.code, error.line) == ("empty_file", None)


def test_files_are_bounded() -> None:
    assert [e.code for e in checked(*(good(str(n)) for n in range(3)), max_lines=2).errors] == ["too_many_tasks"]
    assert [e.code for e in checked(*(good(str(n)) for n in range(3)), max_inputs=5).errors] == ["too_many_inputs"]
    assert not checked(*(good(str(n)) for n in range(3)), max_lines=3, max_inputs=6).errors


def test_errors_are_bounded() -> None:
    check = checked(*[b"{"] * 1000, max_lines=1000)
    assert len(check.errors) == MAX_ERRORS


@pytest.mark.parametrize(
    ("given", "count"),
    [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2, 3]], 2), ([], 1), (None, 1), ({"x": 1}, 1)],
)
def test_inputs_are_counted(given: object, count: int) -> None:
    assert inputs_of(given) == count
