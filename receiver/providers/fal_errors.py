"""fal's errors as data: request errors of its machines, errors of models, HTTP answers (UPSTREAMS §5.2).

Sources: `fal.ai/docs/documentation/model-apis/request-errors` and `…/errors`. The code is `error_type`, or the `type`
of the first entry in `detail`.
"""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, NEVER, RETRY, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

# Errors that only a run can have: whoever is told one knows that the request has ended. `internal_error` is not among
# them, because the queue itself may answer so.
RUN_ERRORS = frozenset(
    {
        *("request_timeout", "startup_timeout", "runner_scheduling_failure", "runner_connection_timeout"),
        *("runner_disconnected", "runner_connection_refused", "runner_connection_error", "runner_incomplete_response"),
        *("runner_server_error", "client_disconnected", "client_cancelled", "bad_request"),
    }
)

_INPUT = "The model does not take this input: the message says which field and why."
_FILE = "A file of the input is of a kind, size or length that the model does not take: see the message."
_PASSING = "A passing fault of fal's machines: safe to send again."

ERRORS = ErrorTable(
    [
        Rule("request_timeout", RETRY, "It took longer than allowed: safe to send again, perhaps asking for less."),
        Rule("startup_timeout", RETRY_LATER, "No machine was ready in time: send again in a while."),
        Rule("runner_scheduling_failure", RETRY_LATER, "No machine was free: send again in a while."),
        Rule("runner_connection_timeout", RETRY, _PASSING),
        Rule("runner_disconnected", RETRY, _PASSING),
        Rule("runner_connection_refused", RETRY, _PASSING),
        Rule("runner_connection_error", RETRY, _PASSING),
        Rule("runner_incomplete_response", RETRY, _PASSING),
        Rule("runner_server_error", RETRY_ONCE, "The model crashed: safe to send once more as it is."),
        Rule("client_disconnected", RETRY, "The connection that waited for it was lost: safe to send again."),
        Rule("client_cancelled", NEVER, "Somebody canceled it: send again only on purpose."),
        Rule("bad_request", FIX_REQUEST, "The request is malformed: see the message."),
        Rule("internal_error", RETRY_LATER, "A fault inside fal that recovers by itself: send again in a while."),
        Rule("internal_server_error", RETRY_LATER, "The model failed unexpectedly: send again in a while."),
        Rule("generation_timeout", RETRY, "The model took too long: safe to send again, perhaps asking for less."),
        Rule("downstream_service_error", RETRY_LATER, "A service the model stands on failed: send again in a while."),
        Rule("downstream_service_unavailable", RETRY_LATER, "A service the model stands on is down: wait."),
        Rule("content_policy_violation", FIX_REQUEST, "Refused by content policy: never send the same input again."),
        Rule("no_media_generated", RETRY_ONCE, "The model made nothing: once more as it is, then another prompt."),
        Rule("feature_not_supported", FIX_REQUEST, "The model does not have what the request asks for."),
        *(
            Rule(code, FIX_REQUEST, _FILE)
            for code in (
                *("image_too_small", "image_too_large", "image_load_error", "file_download_error", "file_too_large"),
                *("face_detection_error", "unsupported_image_format", "unsupported_audio_format"),
                *("unsupported_video_format", "audio_duration_too_long", "audio_duration_too_short"),
                *("video_duration_too_long", "video_duration_too_short", "invalid_archive"),
                *("archive_file_count_below_minimum", "archive_file_count_exceeds_maximum"),
            )
        ),
        *(
            Rule(code, FIX_REQUEST, _INPUT)
            for code in (
                *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of", "one_of"),
                *("sequence_too_short", "sequence_too_long", "missing", "value_error", "value_error.missing"),
            )
        ),
        Rule(None, FIX_REQUEST, "The request is malformed: see the message.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is missing, wrong or revoked: make a new one in the dashboard.", 401),
        Rule(None, FIX_ACCOUNT, "The account's balance is used up: see to that first.", 402),
        Rule(
            None, FIX_ACCOUNT, "The key may not use this model, or the account is locked (an exhausted balance?).", 403
        ),
        Rule(None, FIX_REQUEST, "No such model or request, or it belongs to another account.", 404),
        Rule(None, FIX_REQUEST, _INPUT, 422),
        Rule(None, RETRY_LATER, "More requests at once than the account may have: wait for some to end.", 429),
        Rule(None, RETRY_LATER, "A fault inside fal that recovers by itself: send again in a while.", 500),
        Rule(None, RETRY, "It took longer than allowed: safe to send again.", 504),
        Rule(
            None,
            FIX_REQUEST,
            "The model refused the input: see the message, and never send the same again.",
            contains=("422", "content policy", "nsfw", "safety"),
        ),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
