"""The operations of tus for the reference: what the protocol leaves open is said here, the rest at tus.io."""

from __future__ import annotations

from typing import Any

from api.reference_parts import TEXT, Answer, Operation, parameter
from api.tus_headers import PATH

Json = dict[str, Any]
_COUNT: Json = {"type": "string", "pattern": "^[0-9]{1,19}$"}

PARAMETERS: dict[str, Json] = {
    "upload_id": parameter("upload_id", "path", "The upload's id.", {"type": "string", "format": "uuid"}),
    "tus_resumable": parameter(
        "Tus-Resumable", "header", "The version that is spoken.", {"enum": ["1.0.0"]}, required=True
    ),
    "upload_length": parameter("Upload-Length", "header", "Bytes of the whole file.", _COUNT),
    "upload_defer_length": parameter(
        "Upload-Defer-Length", "header", "`1`: the length is said with a later chunk.", {"enum": ["1"]}
    ),
    "upload_metadata": parameter(
        "Upload-Metadata", "header", "`name base64, …`: options, `filename`, `filetype`, and what is only kept.", TEXT
    ),
    "upload_concat": parameter(
        "Upload-Concat", "header", "`partial`, or `final;` and the addresses of partial uploads.", TEXT
    ),
    "upload_checksum": parameter("Upload-Checksum", "header", "`sha1|sha256|md5|crc32c BASE64` of the chunk.", TEXT),
    "upload_offset": parameter("Upload-Offset", "header", "Where the chunk begins.", _COUNT, required=True),
    "method_override": parameter(
        "X-HTTP-Method-Override",
        "header",
        "The method that is meant.",
        {"enum": ["HEAD", "PATCH", "DELETE"]},
        required=True,
    ),
}

HEADERS: dict[str, tuple[str, Json]] = {
    "Tus-Version": ("The versions that are spoken.", TEXT),
    "Tus-Extension": ("The extensions that are there.", TEXT),
    "Tus-Max-Size": ("Bytes of the largest upload.", _COUNT),
    "Tus-Checksum-Algorithm": ("How chunks may be summed.", TEXT),
    "Tus-Resumable": ("The version that is spoken.", {"const": "1.0.0"}),
    "Bucketline-Job": ("The id of the job that it is, or will be.", {"type": "string", "format": "uuid"}),
    "Upload-Offset": ("The next byte.", _COUNT),
    "Upload-Length": ("Bytes of the whole file, once that is known.", _COUNT),
    "Upload-Defer-Length": ("The length is not known yet.", {"const": "1"}),
    "Upload-Metadata": ("As it was given.", TEXT),
    "Upload-Concat": ("As it was given.", TEXT),
    "Upload-Expires": ("When the upload ends if nothing comes.", TEXT),
    "Cache-Control": ("Nothing is stored on the way.", TEXT),
}

_TUS = "tus_version 404:not_found upload_gone upload_busy wrong_node stopping "
_CHUNK = (
    "unsupported_media_type wrong_offset final_upload bad_checksum 460:checksum_mismatch checksum_mismatch conflict "
    "truncated 503:too_slow spool_full spool_unavailable invalid unknown_destination"
)
_LOOKED = ("Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat",
           "Upload-Expires", "Bucketline-Job", "Cache-Control")  # fmt: skip
_ONE = ("upload_id", "tus_resumable")
_SENT = {204: Answer("It is kept.", None, ("Tus-Resumable", "Upload-Offset", "Upload-Expires"))}

_ABLE = {
    204: Answer(
        "This.", None, ("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm")
    )
}

OPERATIONS = [
    Operation("tus", "options", PATH, "What tus can do here", _ABLE, "Needs no key."),
    Operation("tus", "options", PATH + "/{upload_id}", "The same", _ABLE, "Needs no key.", ("upload_id",)),
    Operation("tus", "post", PATH, "Begin an upload", {
        201: Answer("It goes on at `Location`.", None,
            ("Tus-Resumable", "Location", "Bucketline-Job", "Upload-Offset", "Upload-Expires"))},
        "Exactly one of `Upload-Length` and `Upload-Defer-Length`, or `Upload-Concat: final;…`. With a chunk as its "
        "body, the upload begins with that; any other body is ignored.",
        ("tus_resumable", "upload_length", "upload_defer_length", "upload_metadata", "upload_concat", "upload_checksum",
         "content_digest", "options"), "chunk", _TUS + _CHUNK + " unknown_option token_used_up"),
    Operation("tus", "head", PATH + "/{upload_id}", "Where the upload goes on", {200: Answer("There.", None, _LOOKED)},
        "", _ONE, refused=_TUS + _CHUNK),
    Operation("tus", "patch", PATH + "/{upload_id}", "Go on with an upload", _SENT,
        "The last byte makes it a job. An older request that still sends to it is interrupted.",
        (*_ONE, "upload_offset", "upload_length", "upload_checksum", "content_digest"), "chunk", _TUS + _CHUNK),
    Operation("tus", "delete", PATH + "/{upload_id}", "End an upload", {
        204: Answer("Its bytes are gone, and its job is cancelled.", None, ("Tus-Resumable",))},
        "", _ONE, refused=_TUS),
    Operation("tus", "post", PATH + "/{upload_id}", "The same by POST", {
        **_SENT, 200: Answer("As for HEAD.", None, _LOOKED)},
        "For clients behind proxies that let only POST through.",
        (*_ONE, "method_override", "upload_offset", "upload_length", "upload_checksum", "content_digest"), "chunk",
        _TUS + _CHUNK + " method_not_allowed"),
]  # fmt: skip
