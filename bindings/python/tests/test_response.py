"""What is said of a response, which may repeat the key that it was asked with."""

import traceback
from types import SimpleNamespace
from typing import Any

import pytest

import keyswap


@pytest.mark.parametrize("body", [b'{"s3cr3t": }', b"s3cr3t \xff", b"\xff\xfes3cr3t", b'"s3cr3t'])
def test_a_body_that_is_no_json_is_not_quoted(body: bytes) -> None:
    native: Any = SimpleNamespace(status=200, headers=[], content=body)
    with pytest.raises(ValueError) as caught:
        keyswap.Response(native).json()
    told = f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r} {caught.value.__context__!r}"
    for frame, _ in traceback.walk_tb(caught.tb):
        if frame.f_code.co_filename != __file__:
            told += repr(frame.f_locals)
    assert "s3cr3t" not in told
