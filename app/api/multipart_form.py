"""An upload's ``multipart/form-data`` body, read as it comes: small fields, and one file in pieces."""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.errors import InvalidRequest

_MAX_FIELD_BYTES = 4096
_MAX_PARTS = 16


class UploadForm:
    """What has come so far.

    Args:
        content_type: of the request.
        file_field: name of the part that is the file.

    Raises:
        InvalidRequest: the body is of another type.

    Attributes:
        fields: text of the small parts, by name.
        filename: None until the file's part has begun.
    """

    def __init__(self, content_type: str | None, *, file_field: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest("Send 'multipart/form-data', as the SDKs do.")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )
        self._file_field = file_field
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._pieces: list[bytes] = []
        self._raw_fields: dict[str, bytearray] = {}
        self._name = ""
        self._is_file = False
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._parts = 0
        self._has_ended = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Read on.

        Returns:
            Pieces of the file that the chunk held.

        Raises:
            InvalidRequest: the body is no such form, or its fields are too large.
        """
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise InvalidRequest("The body is no valid 'multipart/form-data'.") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> None:
        """The body has ended.

        Raises:
            InvalidRequest: before its end, or without a file.
        """
        if not self._has_ended:
            raise InvalidRequest("The body ended in the middle of the form.")
        if self.filename is None:
            raise InvalidRequest(f"The part '{self._file_field}' is missing.", param=self._file_field)
        self.fields = {name: bytes(text).decode("utf-8", "replace") for name, text in self._raw_fields.items()}

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise InvalidRequest(f"The form has more than {_MAX_PARTS} parts.")
        self._header = (bytearray(), bytearray())
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == self._file_field
        if not self._is_file:
            self._raw_fields[self._name] = bytearray()
        elif self.filename is not None:
            raise InvalidRequest("Send one file at a time.", param=self._file_field)
        else:
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._pieces.append(data[start:end])
            return
        text = self._raw_fields[self._name]
        text.extend(data[start:end])
        if len(text) > _MAX_FIELD_BYTES:
            raise InvalidRequest(f"A field of the form is longer than {_MAX_FIELD_BYTES} bytes.")

    def _on_end(self) -> None:
        self._has_ended = True
