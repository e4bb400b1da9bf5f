"""Serve a folder on this machine, and on this machine only, until Ctrl+C.

    python book/tools/serve.py _build/html --port 8000     the first free port from 8000 on
"""

import argparse
import functools
import http.server
import sys
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files with the types a browser insists on, and no log line for each."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *args):
        pass

    def end_headers(self):
        # A browser that keeps pages would show yesterday's build.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = False  # else a port that another server listens on may look free
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A reader who closes a page early is no error; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server(folder, port):
    """A server of the folder on the first free port from `port` on."""
    handler = functools.partial(Handler, directory=str(folder))
    for candidate in range(port, min(port + 100, 65536)):
        try:
            return Server(("127.0.0.1", candidate), handler)
        except OSError:
            continue
    sys.exit(f"No free port from {port} to {port + 99}. Name another: make book PORT=9000")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args(argv)
    if not (args.folder / "index.html").is_file():
        sys.exit(f"{args.folder} holds no index.html: build the book first with `make site`.")
    running = server(args.folder.resolve(), args.port)
    print(f"  The book is at http://127.0.0.1:{running.server_port}/   (Ctrl+C stops it)", flush=True)
    try:
        running.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
