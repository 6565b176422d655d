"""`python -m rollcast_cli.local.embedded_s3 --port PORT`: moto's server on the loopback interface."""

import argparse
import logging

from moto.server import main as serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    # One line per request would bury what went wrong.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    serve(["-H", "127.0.0.1", "-p", str(port)])
