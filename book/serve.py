#!/usr/bin/env python3
"""Look at the book while writing it: the site from the stored outputs, built anew at every save, reloaded in the browser.

python book/serve.py --port 8000
"""

from __future__ import annotations

import argparse
import functools
import http.server
import threading
import time
from pathlib import Path

import build

SEEN = ("*.md", "*.ipynb", "*.bib", "*.svg", "*.css", "*.js", "*.yml", "book_pages.py")
RELOAD = """<script>
  let first; setInterval(async () => {
    const now = await (await fetch("/_build_number")).text();
    if (first && now !== first) location.reload();
    first = now;
  }, 1000);
</script></body>"""


class Server(http.server.ThreadingHTTPServer):
    """Files of a folder; build_number goes up when they change."""

    build_number = 0


class Handler(http.server.SimpleHTTPRequestHandler):
    """Pages with a line that asks for the build's number and reloads when it has changed."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if self.path == "/_build_number":
            self.answer(str(self.server.build_number).encode(), "text/plain")
        elif path.suffix == ".html" and path.is_file():
            self.answer(path.read_text().replace("</body>", RELOAD).encode(), "text/html; charset=utf-8")
        else:
            super().do_GET()

    def answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        for name, value in (("Content-Type", kind), ("Content-Length", len(content)), ("Cache-Control", "no-store")):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def state() -> dict[Path, int]:
    """The dates of everything the site is made from."""
    files = [p for pattern in SEEN for folder in (build.BOOK, build.BOOK / "_static", build.ROOT) for p in folder.glob(pattern)]
    return {path: path.stat().st_mtime_ns for path in files}


def rebuild(output: Path) -> bool:
    """Build and say how long it took, or what is wrong; True when the site is good."""
    began = time.perf_counter()
    try:
        build.build_site(build.BOOK, output)
    except (RuntimeError, ValueError, OSError) as error:
        print(error, flush=True)
        return False
    print(f"built in {time.perf_counter() - began:.0f} s", flush=True)
    return True


def main() -> None:
    """Build, serve, and build again whenever a file has changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    output = build.ROOT / "_build" / "serve"
    before = state()
    rebuild(output)
    folder = output / "_build" / "html"
    server = Server(("127.0.0.1", port), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"open http://127.0.0.1:{server.server_port}/book/intro.html (stop with Ctrl-C)", flush=True)
    try:
        while True:
            time.sleep(0.5)
            if (now := state()) != before:
                before = now
                server.build_number += rebuild(output)
    except KeyboardInterrupt:
        server.shutdown()


if __name__ == "__main__":
    main()
