"""A gRPC server as anybody would write it, with grpcio. It listens where LISTEN says."""

import concurrent.futures
import http.server
import os
import sys
import threading

import grpc
import peer_pb2
import peer_pb2_grpc
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

LIMIT_BYTES = 32 << 20
HANG_SECONDS = 60
PIECE = bytes(range(256)) * 256


class Peer(peer_pb2_grpc.PeerServicer):
    """Does what `peer.proto` says."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def Unary(self, request, context):
        # Whether to compress must be said before the headers go.
        self.obey(request, context)
        self.echo_metadata(context)
        return self.reply(request, context, 1, len(request.payload))

    def Collect(self, requests, context):
        self.echo_metadata(context)
        count = received = 0
        request = peer_pb2.Request()
        for request in requests:
            count += 1
            received += len(request.payload)
            self.obey(request, context)
        return self.reply(peer_pb2.Request(id=request.id), context, count, received)

    def Produce(self, request, context):
        self.echo_metadata(context)
        for number in range(request.number):
            if number == 2 or request.act != "fail":
                self.obey(request, context)
            piece = peer_pb2.Request(payload=PIECE[: len(request.payload) or len(PIECE)])
            yield self.reply(piece, context, number, 0)

    def Converse(self, requests, context):
        self.echo_metadata(context)
        received = 0
        after = peer_pb2.Request()
        for number, request in enumerate(requests, 1):
            received += len(request.payload)
            if number == 3 or request.act != "fail":
                self.obey(request, context)
            yield self.reply(request, context, number, received)
            if request.act == "finish":
                return
            if request.act == "after":
                after = request
        for number in range(after.number):
            yield self.reply(after, context, number, received)

    def obey(self, request, context) -> None:
        """Does what a request asks besides an answer."""
        if request.act == "code":
            codes = {code.value[0]: code for code in grpc.StatusCode}
            context.abort(codes[request.number], f"code {request.number}")
        elif request.act == "fail":
            status = rpc_status.to_status(status_pb2.Status.FromString(request.payload))
            trailing = (*status.trailing_metadata, ("x-why-bin", b"\x00\xffwhy"))
            context.abort_with_status(status._replace(trailing_metadata=trailing))
        elif request.act == "hang":
            over = threading.Event()
            context.add_callback(over.set)
            self.states[request.id] = "started"
            if over.wait(HANG_SECONDS):
                self.states[request.id] = "over"
        elif request.act == "compress":
            context.set_compression(grpc.Compression.Gzip)

    def reply(self, request, context, requests: int, received: int):
        left = context.time_remaining()
        caller = dict(context.invocation_metadata()).get("x-weft-caller", "")
        return peer_pb2.Reply(
            payload=request.payload,
            requests=requests,
            received=received,
            # grpcio says that there is no deadline with a very long one.
            remaining=0 if left is None or left > 1e6 else int(left * 1000),
            caller=caller,
            state=self.states.get(request.id, "unknown"),
        )

    @staticmethod
    def echo_metadata(context) -> None:
        """Sends `x-echo-*` back, in the headers and in the trailers."""
        prefix = "x-echo-"
        pairs = [(key.removeprefix(prefix), value) for key, value in context.invocation_metadata() if key.startswith(prefix)]
        context.send_initial_metadata([("x-initial-" + key, value) for key, value in pairs])
        context.set_trailing_metadata([("x-trailing-" + key, value) for key, value in pairs])


class Ready(http.server.BaseHTTPRequestHandler):
    """`weft up` asks whether the program has started."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_) -> None:
        """Says nothing."""


def main() -> None:
    """Serves until standard input closes."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=64)
    options = [("grpc.max_receive_message_length", LIMIT_BYTES), ("grpc.max_send_message_length", LIMIT_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.server(pool, options=options)
    peer_pb2_grpc.add_PeerServicer_to_server(Peer(), server)
    checks = health.HealthServicer()
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(os.environ["LISTEN"])
    server.start()
    host, port = os.environ["ADMIN_LISTEN"].rsplit(":", 1)
    admin = http.server.ThreadingHTTPServer((host, int(port)), Ready)
    threading.Thread(target=admin.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()
    server.stop(grace=1).wait()
    os._exit(0)


if __name__ == "__main__":
    main()
