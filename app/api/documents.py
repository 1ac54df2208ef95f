"""``/docs/….md``: the documents, as pages that look like the console."""

from functools import lru_cache
from html import escape

from fastapi import FastAPI, Request, Response
from markdown_it import MarkdownIt

from app.api.console import HEADERS
from app.api.request_record import record_of
from app.core.errors import RouteNotFound
from app.documents import FOLDER

_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>{title} · Embedgate</title>
    <link rel="icon" href="/console/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/console/style.css">
  </head>
  <body>
    <header>
      <a class="brand" href="/docs/README.md">Embedgate</a>
      <nav aria-label="Pages">
        <a href="/docs/README.md">Documents</a> <a href="/docs">API</a> <a href="/console/">Console</a>
      </nav>
    </header>
    <main class="document">{body}</main>
  </body>
</html>
"""


def add_documents(app: FastAPI) -> None:
    """Serve each document below ``/docs/``."""

    @app.get("/docs/{name}.md", include_in_schema=False)
    async def document(request: Request, name: str) -> Response:
        record_of(request).route = "docs"
        return Response(_page(name), media_type="text/html; charset=utf-8", headers=dict(HEADERS))


@lru_cache(maxsize=64)
def _page(name: str) -> str:
    path = FOLDER / f"{name}.md"
    if path not in FOLDER.glob("*.md"):
        raise RouteNotFound("There is no such document; /docs/README.md lists them.")
    text = path.read_text(encoding="utf-8")
    title = next((line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")), name)
    body = MarkdownIt("commonmark").enable("table").render(text)
    # What scrolls sideways on a narrow screen must be reached by keyboard.
    body = body.replace("<pre>", '<pre tabindex="0">')
    body = body.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    return _PAGE.format(title=escape(title), body=body)
