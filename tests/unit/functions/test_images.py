"""Images of the `files` argument."""

import base64

import pytest

from aiq.errors import FunctionError
from aiq.functions.images import image_part
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
    part = image_part(blob)
    head, _, data = part["image_url"]["url"].partition(",")
    assert (part["type"], head, base64.b64decode(data)) == ("image_url", f"data:{mime};base64", blob)


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 ...", "25 50 44 46 2d 31 2e 37"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "52 49 46 46"),
        (b"\xff\xd8", "ff d8"),
    ],
)
def test_anything_else_is_refused_with_its_first_bytes(blob, said):
    with pytest.raises(FunctionError, match="JPEG, PNG, GIF and WEBP") as e:
        image_part(blob)
    assert e.value.condition == "AI_FUNCTION_UNSUPPORTED_REQUEST"
    assert said in str(e.value)


def test_the_largest_image_is_taken():
    image_part(JPEG.ljust(MAX_IMAGE_BYTES, b"x"))


def test_a_larger_image_is_refused():
    with pytest.raises(FunctionError, match="at most 20 MiB"):
        image_part(JPEG.ljust(MAX_IMAGE_BYTES + 1, b"x"))
