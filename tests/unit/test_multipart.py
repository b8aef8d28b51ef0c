import pytest

from gateway.domain.errors import InvalidRequestError
from gateway.wire.multipart import form_fields, without_model_prefix
from tests.fakes.dialects import BOUNDARY, FORM_TYPE, SOUND, form


def part(head: str, value: str = "x") -> bytes:
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n--{BOUNDARY}--\r\n".encode()


def named(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def test_fields_are_read_and_files_stepped_over() -> None:
    body = form(("model", "whisper-1"), ("prompt", "Grüezi"), ("timestamp_granularities[]", "word"))

    fields = form_fields(body, FORM_TYPE)

    assert {name: field.text for name, field in fields.items()} == {
        "model": "whisper-1",
        "prompt": "Grüezi",
        "timestamp_granularities[]": "word",
    }
    assert all(body[f.start :].startswith(f.text.encode()) for f in fields.values())


def test_a_file_may_hold_anything_but_the_boundary() -> None:
    sound = b'\r\n--another\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n' + SOUND

    assert set(form_fields(form(("model", "m"), sound=sound), FORM_TYPE)) == {"model"}


@pytest.mark.parametrize(
    "content_type",
    [
        FORM_TYPE,
        FORM_TYPE.replace("boundary=", "Boundary=").replace("multipart", "Multipart"),
        f'multipart/form-data; boundary="{BOUNDARY}"',
        f"multipart/form-data;boundary={BOUNDARY}",
    ],
)
def test_the_boundary_is_read_as_clients_write_it(content_type: str) -> None:
    assert "model" in form_fields(form(("model", "m")), content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; charset=utf-8; boundary={BOUNDARY}",
        f"{FORM_TYPE}; boundary=other",
        "multipart/form-data; boundary=" + "b" * 71,
    ],
)
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequestError, match="boundary"):
        form_fields(form(("model", "m")), content_type)


@pytest.mark.parametrize(
    "head",
    [
        "Content-Disposition: form-data",
        "Content-Disposition: form-data; name=model",
        'Content-Disposition: form-data; filename="x"; name="model"',
        'Content-Disposition: form-data; name="a"; name="model"',
        "Content-Disposition: form-data; name*=UTF-8''model",
        'Content-Disposition: attachment; name="model"',
        "Content-Type: text/plain",
        named("a") + "\r\n" + named("model"),
        named("a") + "\n" + named("model"),
        named("a") + "\r\nContent-Transfer-Encoding: base64",
        named("a") + "\r\nContent-Encoding: gzip",
        named("a") + "\r\n folded",
        "X-Pad: " + "x" * 5000 + "\r\n" + named("a"),
    ],
)
def test_a_head_that_parsers_may_read_apart_is_refused(head: str) -> None:
    with pytest.raises(InvalidRequestError, match="part of the form has no"):
        form_fields(part(head), FORM_TYPE)


@pytest.mark.parametrize(
    "head",
    [
        named("model") + "\r\nContent-Type: text/plain; charset=utf-8",
        named("model") + "\r\nContent-Length: 1",
        'content-disposition: form-data;name="model"',
    ],
)
def test_a_head_as_clients_write_it_is_read(head: str) -> None:
    assert form_fields(part(head), FORM_TYPE)["model"].text == "x"


@pytest.mark.parametrize("second", ["model", "Model", "MODEL", " model"])
def test_a_second_model_is_refused(second: str) -> None:
    with pytest.raises(InvalidRequestError, match="model"):
        form_fields(form(("model", "a"), (second, "b")), FORM_TYPE)


def test_a_model_as_a_file_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="as a file"):
        form_fields(part(named("model") + '; filename="m"'), FORM_TYPE)


def test_a_field_that_is_too_long_to_be_one_of_ours_is_not_kept() -> None:
    assert set(form_fields(form(("prompt", "x" * 5000), ("model", "m")), FORM_TYPE)) == {"model"}


@pytest.mark.parametrize("cut", [1, 4, 30, 200])
def test_a_cut_form_is_refused(cut: int) -> None:
    with pytest.raises(InvalidRequestError):
        form_fields(form(("model", "m"))[: -cut - 2], FORM_TYPE)


def test_the_parts_have_a_bound() -> None:
    with pytest.raises(InvalidRequestError, match="more than 64"):
        form_fields(form(*[("x", "y")] * 70), FORM_TYPE)


def test_a_prefix_is_taken_off_the_model_alone() -> None:
    body = form(("prompt", "groq/"), ("model", "groq/whisper"))

    assert without_model_prefix(body, FORM_TYPE, 5) == form(
        ("prompt", "groq/"), ("model", "whisper")
    )
    assert without_model_prefix(body, FORM_TYPE, 0) is body
