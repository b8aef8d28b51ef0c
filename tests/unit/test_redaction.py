import base64
import io
import json
import logging
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import structlog
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry.logs import configure_logging, log_settlements, settlement_log_fields
from gateway.telemetry.redaction import Redactor
from tests.fakes.settlements import settlement

GATEWAY_KEY = "gw_CANARYa8Jd72kQpLmZx0Tb5VwYs3Rf"
ANTHROPIC_KEY = "sk-ant-api03-CANARYx7_Yq2-Zr9LmNo4PsTuVwXyZ"
OPENAI_KEY = "sk-proj-CANARY0123456789abcdefABCDEF"
AWS_KEY_ID = "AKIACANARY0123456789"[:20]
GOOGLE_KEY = "AIzaSyCANARY0123456789abcdefghijklmnop"
SHAPELESS = "3f9c0de1CANARYe77b2a4d5f60718293"


@pytest.mark.parametrize(
    "text",
    [
        GATEWAY_KEY,
        f"unknown key {GATEWAY_KEY}.",
        f"{{'key': '{ANTHROPIC_KEY}'}}",
        OPENAI_KEY,
        f"model={OPENAI_KEY}",
        AWS_KEY_ID,
        f"x{GOOGLE_KEY[:0]} {GOOGLE_KEY}",
        "Authorization: Bearer CANARY",
        "authorization: Basic Q0FOQVJZ CANARY",
        "Authorization: CANARY with spaces CANARY",
        "x-api-key: CANARY",
        "X-Api-Key:CANARY\r\nother: fine",
        '{"authorization": "Bearer CANARY"}',
        "{'x-goog-api-key': 'CANARY'}",
        "(b'Authorization', b'Bearer CANARY')",
        "[(b'api-key', b'CANARY')]",
        "<CIMultiDict('Host': 'x', 'X-API-Key': 'CANARY', 'Cookie': 'a=CANARY')>",
        '{\\"x-api-key\\": \\"CANARY\\"}',
        "bearer CANARY",
        "postgresql://gateway:CANARY@db:5432/gateway",
        "postgresql://gateway:CAN@CANARY@db/gateway",
        "host=db password=CANARY dbname=x",
        "https://x.example/v1/models?key=CANARY&alt=sse",
        "https://x.example/?alt=sse&api_key=CANARY",
        "https://b.example/?X-Amz-Signature=CANARY&X-Amz-Date=1",
        "https://b.example/?a=1&access_token=CANARY",
        "AWS_SECRET_ACCESS_KEY=CANARY/abc+def",
        "client_secret: CANARY",
        "Cookie: session=CANARY; b=CANARY",
        "set-cookie: a=CANARY",
        "eyJhbGciOi.CANARYeyJzdWIi.CANARYsig"[:0]
        + "eyJhbGciOiJIUzI1NiJ9.eyJDQU5BUlkiOjF9CANARY.CANARY-sig_1",
    ],
)
def test_secret_is_taken_out_by_shape_or_place(text):
    assert "CANARY" not in Redactor().text(text)


@pytest.mark.parametrize(
    "text",
    [
        "request.settled",
        "claude-opus-4-5-20251101",
        "openai/gpt-5-mini",
        "task-force-and-risk-assessment",
        "gw_AbCd12",
        "01930000-0000-7000-8000-000000000001",
        "postgresql://gateway@localhost/gateway",
        "http://127.0.0.1:8080/v1/messages?beta=true",
        "the api_key_id is 7, 120 input_tokens and 3 output_tokens",
        "Set GATEWAY_ANTHROPIC_API_KEY or GATEWAY_OPENAI_API_KEY to reach a real one.",
        "basically done; bearers of news",
        "12:30:01 ratio 3:1",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Redactor().text(text) == text


def test_rest_of_the_text_stays():
    text = f"GET https://u:pw@h/x?key=abcdef&alt=sse failed for {GATEWAY_KEY}: 401\nx-api-key: abc\nretry: yes"
    assert Redactor().text(text) == (
        "GET https://u:[redacted]@h/x?key=[redacted]&alt=sse failed for [redacted]: 401\nx-api-key: [redacted]\nretry: yes"
    )


def test_known_secret_goes_whatever_its_shape_and_in_its_encodings():
    redactor = Redactor([SHAPELESS, "p/ss word+CANARY"])
    texts = [
        SHAPELESS,
        f"id={SHAPELESS[::-1]} {SHAPELESS}",
        quote("p/ss word+CANARY", safe=""),
        *(base64.b64encode(b"x" * pad + SHAPELESS.encode() + b"tail").decode() for pad in range(3)),
        *(
            base64.urlsafe_b64encode(b"user:" + b"x" * pad + b"p/ss word+CANARY").decode()
            for pad in range(3)
        ),
    ]
    for text in texts:
        redacted = redactor.text(text)
        assert SHAPELESS not in redacted
        assert "CANARY" not in redacted
        assert "[redacted]" in redacted


def test_short_known_secrets_do_not_eat_the_log():
    assert Redactor(["a", "", "key"]).text("a key in a lock") == "a key in a lock"


def test_nested_values_are_redacted_and_names_of_secrets_count():
    value = {
        "headers": {"X-Api-Key": "CANARY", "host": "h"},
        "list": [GATEWAY_KEY, 1, None, (f"Bearer {OPENAI_KEY}",)],
        "raw": ANTHROPIC_KEY.encode(),
        "n": 1.5,
    }
    redacted = Redactor().fields(value)
    assert "CANARY" not in json.dumps(redacted)
    assert redacted["headers"]["host"] == "h"
    assert redacted["n"] == 1.5


@settings(max_examples=200)
@given(
    st.text(max_size=200),
    st.sampled_from([GATEWAY_KEY, ANTHROPIC_KEY, OPENAI_KEY]),
    st.text(max_size=50),
)
def test_redaction_is_total_and_idempotent(before, secret, after):
    redactor = Redactor([SHAPELESS])
    once = redactor.text(f"{before} {secret} {SHAPELESS}{after}")
    assert secret not in once
    assert SHAPELESS not in once
    assert redactor.text(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "-",
        "_",
        "a-",
        "key",
        "x-amz-",
        "://a:",
        "@",
        "password",
        "authorization:",
        "'",
        "\\",
        "Bearer ",
        "api_key=\n",
        "?key=",
        "secret_",
        " ",
    ],
)
def test_hostile_text_takes_linear_time(unit):
    text = unit * (16 * 1024 // len(unit))
    started = time.perf_counter()
    Redactor().text(text)
    assert time.perf_counter() - started < 1


# Whole log lines.


@contextmanager
def logging_to_memory(level="info", **options):
    stream = io.BytesIO()
    root = logging.getLogger()
    handlers, root_level = list(root.handlers), root.level
    # The runner's own handlers end a test at a record whose arguments do not fit its format.
    root.handlers.clear()
    configure_logging(level, stream=stream, **options)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(root_level)


def test_line_is_one_json_object_with_time_level_and_logger():
    with logging_to_memory() as lines:
        structlog.get_logger("gateway.test").info("request.refused", status=401)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request.refused",
        "status": 401,
        "level": "info",
        "logger": "gateway.test",
    }


def test_level_is_kept_for_ours_and_libraries():
    with logging_to_memory("warning") as lines:
        structlog.get_logger("gateway.test").info("a.b")
        logging.getLogger("some.library").info("hidden")
        logging.getLogger("some.library").warning("shown %s", 1)
    assert [(line["event"], line.get("message")) for line in lines()] == [
        ("library.message", "shown 1")
    ]


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match="loud"):
        configure_logging("loud")


def test_canaries_in_every_place_of_a_log_call_stay_out():
    with logging_to_memory(secrets=[SHAPELESS]) as lines:
        log = structlog.get_logger("gateway.test")
        log.info(
            f"event {GATEWAY_KEY}",
            text=f"Bearer {OPENAI_KEY}",
            headers={"x-api-key": "CANARY"},
            known=SHAPELESS,
            authorization="CANARY",
        )
        try:
            raise ValueError(f"cannot use {ANTHROPIC_KEY} for postgresql://u:CANARY@h/d")
        except ValueError as exc:
            log.exception("request.failed")
            log.error("request.failed", exc_info=exc)
        library = logging.getLogger("aiohttp.server")
        library.error("header %r", f"Authorization: Bearer {GATEWAY_KEY}CANARY")
        library.error(
            "Error handling request",
            exc_info=BadHttpMessage(f"Invalid header: b'x-api-key: {OPENAI_KEY}\\x00'"),
        )
        logging.getLogger("asyncio").error(
            "Task exception was never retrieved", exc_info=RuntimeError(f"{SHAPELESS}")
        )
        logging.getLogger("some").error("bad format %d", "CANARY is an argument")
    text = json.dumps(lines())
    assert len(lines()) == 7
    assert "CANARY" not in text
    assert text.count("Traceback") >= 2


def test_traceback_shows_no_values_of_variables():
    def failing(secret):
        raise RuntimeError("no")

    with logging_to_memory() as lines:
        try:
            failing("LOCAL-CANARY"[::-1][::-1])
        except RuntimeError:
            structlog.get_logger("t").exception("request.failed")
    assert "RuntimeError: no" in lines()[0]["exception"]
    assert "secret=" not in lines()[0]["exception"]


def test_access_and_debug_logs_of_libraries_are_off():
    with logging_to_memory("debug") as lines:
        logging.getLogger("aiohttp.access").info("GET /?key=CANARY")
        logging.getLogger("posthog").debug("queueing: CANARY")
        logging.getLogger("urllib3.connectionpool").debug("POST CANARY")
        logging.getLogger("posthog").warning("shown")
    assert [line["message"] for line in lines()] == ["[PostHog] shown"]


def test_odd_values_still_make_a_line():
    with logging_to_memory() as lines:
        structlog.get_logger("t").info(
            "a.b", huge=1 << 200, surrogate="\udcff", thing=object, number=float("nan"), raw=b"\xff"
        )
    (line,) = lines()
    assert "a.b" in line["event"]


def test_log_that_nobody_reads_fails_no_request():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as broken:
        configure_logging("info", stream=broken)
        try:
            structlog.get_logger("t").info("request.settled")
            logging.getLogger("some").error("x")
        finally:
            structlog.reset_defaults()
            root = logging.getLogger()
            root.handlers[:] = [
                handler for handler in root.handlers if type(handler).__name__ != "_LibraryHandler"
            ]


@pytest.mark.parametrize(
    "model", ["claude-opus-4-5", GATEWAY_KEY, f"m Bearer {SHAPELESS}", "\ud800"]
)
def test_line_of_a_request_is_what_a_logger_would_write(model):
    ended = settlement(request_model=model, response_model=model)
    with logging_to_memory(secrets=[SHAPELESS]) as lines:
        log_settlements([ended])
        log_settlements([ended])
        structlog.get_logger("gateway.settlement").info(
            "request.settled", **settlement_log_fields(ended)
        )
    written = [{**line, "timestamp": ""} for line in lines()]
    assert written[0] == written[1] == written[2]
    assert [*written[0]] == [*written[2]]
    assert "CANARY" not in json.dumps(written)


def test_line_of_a_request_obeys_the_level():
    with logging_to_memory("warning") as lines:
        log_settlements([settlement()])
    assert lines() == []


def test_lines_go_to_standard_error_and_results_stay_alone():
    code = "import structlog; from gateway.telemetry.logs import configure_logging; configure_logging('info'); structlog.get_logger('g').info('serve.ready'); print('result')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    assert json.loads(done.stderr)["event"] == "serve.ready"


def test_repeated_configuration_logs_once():
    with logging_to_memory(), logging_to_memory() as lines:
        logging.getLogger("some").error("once")
    assert len(lines()) == 1


def test_settled_line_says_all_that_one_would_ask():
    done = settlement(client_aborted=True)
    fields = settlement_log_fields(done)
    assert fields["entry_id"] == str(done.entry.entry_id)
    assert fields["cost_usd"] == "0.027187500007"
    assert fields["outcome"] == "client_aborted"
    assert (fields["first_token_s"], fields["duration_s"]) == (0.25, 1.5)
    assert (
        fields["input_uncached_tokens"],
        fields["cache_write_5m_tokens"],
        fields["cache_write_1h_tokens"],
    ) == (100, 35, 400)
    assert fields["usage_source"] == "exact"
    assert fields["request_model"] == "claude-opus-4-5"


def test_settled_line_holds_nothing_else_that_a_client_wrote():
    done = settlement(
        distinct_id="CANARY",
        trace_id="CANARY",
        session_id="CANARY",
        request_id="CANARY",
        properties={"CANARY": "CANARY"},
        flags={"CANARY": "CANARY"},
        input_json='"CANARY"',
        output_json='"CANARY"',
        effort="CANARY",
        request_model="m" * 1000 + "CANARY",
    )
    assert "CANARY" not in json.dumps(settlement_log_fields(done))
