"""Images, PDFs and recordings of the `files` argument."""

import base64

import pytest

from aiq.errors import FunctionError
from aiq.functions.images import file_part
from aiq.image import MAX_IMAGE_BYTES

JPEG = b"\xff\xd8\xff\xe0 and so on"


@pytest.mark.parametrize(
    ("blob", "mime"),
    [
        (JPEG, "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"GIF87a..", "image/gif"),
        (b"GIF89a..", "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
def test_an_image_becomes_a_data_url_of_its_kind(blob, mime):
    part = file_part(blob)
    head, _, data = part["image_url"]["url"].partition(",")
    assert (part["type"], head, base64.b64decode(data)) == ("image_url", f"data:{mime};base64", blob)


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04word/", "50 4b 03 04"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "52 49 46 46"),
        (b"fLaC....", "66 4c 61 43"),
        (b"not %PDF-1.7", "6e 6f 74"),
        (b"\xff\xd8", "ff d8"),
    ],
)
def test_anything_else_is_refused_with_its_first_bytes(blob, said):
    with pytest.raises(FunctionError, match="JPEG, PNG, GIF and WEBP") as e:
        file_part(blob)
    assert e.value.condition == "AI_FUNCTION_UNSUPPORTED_REQUEST"
    assert said in str(e.value)


def test_the_largest_image_is_taken():
    file_part(JPEG.ljust(MAX_IMAGE_BYTES, b"x"))


def test_a_larger_image_is_refused():
    with pytest.raises(FunctionError, match="at most 20 MiB"):
        file_part(JPEG.ljust(MAX_IMAGE_BYTES + 1, b"x"))


def test_a_pdf_is_a_file():
    part = file_part(b"%PDF-1.7 and so on")
    head, _, data = part["file"]["file_data"].partition(",")
    assert (part["type"], part["file"]["filename"], head) == ("file", "document.pdf", "data:application/pdf;base64")
    assert base64.b64decode(data) == b"%PDF-1.7 and so on"


@pytest.mark.parametrize(
    ("blob", "wanted"),
    [(b"RIFF\x10\x00\x00\x00WAVEfmt ", "wav"), (b"ID3\x04....", "mp3"), (b"\xff\xfb\x90d....", "mp3")],
)
def test_a_recording_is_input_audio(blob, wanted):
    part = file_part(blob)
    assert (part["type"], part["input_audio"]["format"]) == ("input_audio", wanted)
    assert base64.b64decode(part["input_audio"]["data"]) == blob
