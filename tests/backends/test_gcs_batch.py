"""What is read from the answers to a batch: those of Google and of two emulators, as they came."""

from hypothesis import given
from hypothesis import strategies as st

from backends import gcs_batch

GOOGLE = """--batch_pK7JBAk73-E=_AA5eFwv4m2Q=\r
Content-Type: application/http\r
Content-ID: <response-1>\r
\r
HTTP/1.1 204 No Content\r
Content-Length: 0\r
\r
\r
--batch_pK7JBAk73-E=_AA5eFwv4m2Q=\r
Content-Type: application/http\r
Content-ID: <response-0>\r
\r
HTTP/1.1 503 Service Unavailable\r
Content-Type: application/json; charset=UTF-8\r
\r
{"error": {"code": 503, "message": "Backend Error"}}\r
--batch_pK7JBAk73-E=_AA5eFwv4m2Q=--"""

FAKE_GCS_SERVER = """--e77d25f763555a3b\r
Content-Id: <response-0>\r
Content-Type: application/http\r
\r
HTTP/1.1 200 OK\r
Connection: close\r
Content-Type: application/json\r
\r
null\r
--e77d25f763555a3b\r
Content-Id: <response-1>\r
Content-Type: application/http\r
\r
HTTP/1.1 404 Not Found\r
Connection: close\r
\r
{"error":{"code":404}}\r
--e77d25f763555a3b--"""

GCP_STORAGE_EMULATOR = """--batch_4JgPkSmV1yQX\r
Content-Type: application/http\r
HTTP/1.1 204 No Content\r
Content-Type: application/json; charset=UTF-8\r
\r
--batch_4JgPkSmV1yQX\r
Content-Type: application/http\r
HTTP/1.1 404 Not Found\r
Content-Type: application/json; charset=UTF-8\r
\r
{"error": {"code": 404}}\r
--batch_4JgPkSmV1yQX--"""


def test_answers_in_any_order_are_told_apart() -> None:
    header = 'multipart/mixed; boundary="batch_pK7JBAk73-E=_AA5eFwv4m2Q="'
    assert gcs_batch.statuses(header, GOOGLE.encode()) == {0: 503, 1: 204}


def test_the_emulators_answers_are_read_too() -> None:
    fake = gcs_batch.statuses("multipart/mixed; boundary=e77d25f763555a3b", FAKE_GCS_SERVER.encode())
    emulator = gcs_batch.statuses("multipart/mixed; boundary=batch_4JgPkSmV1yQX", GCP_STORAGE_EMULATOR.encode())
    assert fake == {0: 200, 1: 404}
    assert emulator == {0: 204, 1: 404}


def test_an_answer_that_was_cut_tells_less_and_nothing_wrong() -> None:
    header = 'multipart/mixed; boundary="batch_pK7JBAk73-E=_AA5eFwv4m2Q="'
    for length in range(len(GOOGLE)):
        told = gcs_batch.statuses(header, GOOGLE[:length].encode())
        assert told.items() <= {0: 503, 1: 204}.items()


@given(st.text(), st.binary())
def test_any_answer_can_be_read(header: str, body: bytes) -> None:
    found = gcs_batch.statuses(header, body)
    assert all(0 <= status <= 999 for status in found.values())


def test_each_request_has_an_id_and_an_end() -> None:
    body = gcs_batch.encode("DELETE", ["/storage/v1/b/x/o/a%2Fb?generation=1", "/storage/v1/b/x/o/c"]).decode()
    assert body.count("--bucketline-batch\r\n") == 2
    assert body.endswith("--bucketline-batch--\r\n")
    assert "Content-ID: <1>\r\n\r\nDELETE /storage/v1/b/x/o/c HTTP/1.1\r\n" in body
