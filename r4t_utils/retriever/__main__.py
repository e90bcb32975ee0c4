"""`python -m r4t_utils.retriever serve FOLDER [--host 127.0.0.1] [--port 8000]`: a retriever over HTTP."""

import argparse
import sys

from r4t_utils.retriever.fanout import FanoutRetriever


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status: 2 for bad input, before anything is served."""
    parser = argparse.ArgumentParser(prog="python -m r4t_utils.retriever", description=__doc__)
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", help="answer over HTTP")
    serve.add_argument("folder", help="a folder with a retriever, or the id of one on the hub")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; this machine alone by default")
    serve.add_argument("--port", type=_port, default=8000)
    given = parser.parse_args(argv)
    try:
        import uvicorn

        from r4t_utils.retriever.serve import app
    except ImportError as error:
        print(f"error: serving needs the extra `serve` ({error.name}): pip install 'r4t_utils[serve]'", file=sys.stderr)
        return 2
    try:
        service = app(FanoutRetriever.from_pretrained(given.folder))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    uvicorn.run(service, host=given.host, port=given.port)
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
