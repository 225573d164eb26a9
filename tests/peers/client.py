"""A gRPC client as anybody would write it, with grpcio. Prints what it saw as one JSON object.

Usage: client.py SIDECAR RELAY AUTHORITY DETAILS. SIDECAR is the outbound listener; RELAY leads there too,
and counts; AUTHORITY is whom to call; DETAILS is a google.rpc.Status in hexadecimal digits.
"""

import json
import sys
import threading
import time
import traceback

import grpc
import peer_pb2
import peer_pb2_grpc
from grpc_status import rpc_status

SIDECAR, RELAY, AUTHORITY, DETAILS = sys.argv[1:]
TIMEOUT = 30
MEBIBYTE = 1 << 20
PIECE = bytes(range(256)) * 256
Request = peer_pb2.Request


def connect(address: str) -> grpc.Channel:
    options = [
        ("grpc.default_authority", AUTHORITY),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", 32 * MEBIBYTE),
        ("grpc.max_send_message_length", 32 * MEBIBYTE),
    ]
    return grpc.insecure_channel(address, options=options)


CHANNEL = connect(SIDECAR)
PEER = peer_pb2_grpc.PeerStub(CHANNEL)


def unary() -> dict:
    reply = PEER.Unary(Request(payload=b"\x00hello"), timeout=TIMEOUT)
    return {"payload": reply.payload.hex(), "requests": reply.requests, "caller": reply.caller}


def client_stream() -> dict:
    reply = PEER.Collect((Request(payload=b"x" * 1000) for _ in range(100)), timeout=TIMEOUT)
    nothing = PEER.Collect(iter(()), timeout=TIMEOUT)
    return {"requests": reply.requests, "received": reply.received, "empty": nothing.requests}


def server_stream() -> dict:
    numbers = [reply.requests for reply in PEER.Produce(Request(payload=b"x", number=100), timeout=TIMEOUT)]
    nothing = list(PEER.Produce(Request(number=0), timeout=TIMEOUT))
    return {"replies": len(numbers), "ordered": numbers == list(range(100)), "empty": len(nothing)}


def bidi_stream() -> dict:
    """Says the next thing only when the last was answered."""
    answered = []

    def requests():
        for number in range(50):
            while len(answered) < number:
                time.sleep(0.001)
            yield Request(payload=bytes([number]))

    for reply in PEER.Converse(requests(), timeout=TIMEOUT):
        answered.append(reply.payload[0])
    return {"replies": len(answered), "ordered": answered == list(range(50))}


def half_closes() -> dict:
    """The caller stops first and is answered on; the server stops first."""
    after = [reply.requests for reply in PEER.Converse(iter([Request(act="after", number=50)]), timeout=TIMEOUT)]
    over = threading.Event()

    def unfinished():
        yield Request(payload=b"x")
        yield Request(act="finish")
        over.wait(TIMEOUT)

    call = PEER.Converse(unfinished(), timeout=TIMEOUT)
    replies = len(list(call))
    seen = {"after": after == [1, *range(50)], "replies": replies, "code": call.code().name, "waiting": not over.is_set()}
    over.set()
    return seen


def parallel() -> dict:
    """More calls at once than a connection has streams."""
    calls = [PEER.Unary.future(Request(payload=b"x" * number), timeout=TIMEOUT) for number in range(400)]
    return {"intact": all(len(call.result().payload) == number for number, call in enumerate(calls))}


def plain(metadata, prefix: str) -> dict:
    """The values of each key that begins with `prefix`; several in one, as HTTP joins them."""
    values = {}
    for key, value in metadata or ():
        if key.startswith(prefix):
            values.setdefault(key, []).append(value.hex() if isinstance(value, bytes) else value)
    return {key: ", ".join(values[key]) for key in sorted(values)}


def metadata() -> dict:
    sent = [("x-echo-text", "one, two"), ("x-echo-text", "three"), ("x-echo-data-bin", bytes(range(256))), ("x-echo-data-bin", b"")]
    call = PEER.Unary.with_call(Request(), metadata=sent, timeout=TIMEOUT)[1]
    stream = PEER.Produce(Request(number=3, payload=b"x"), metadata=sent, timeout=TIMEOUT)
    streamed = plain(stream.initial_metadata(), "x-initial-")
    list(stream)
    return {
        "initial": plain(call.initial_metadata(), "x-initial-"),
        "trailing": plain(call.trailing_metadata(), "x-trailing-"),
        "equal": streamed == plain(call.initial_metadata(), "x-initial-")
        and plain(stream.trailing_metadata(), "x-trailing-") == plain(call.trailing_metadata(), "x-trailing-"),
    }


def failure(replies) -> dict:
    """What a call failed with, and after how many replies."""
    count = 0
    try:
        for _ in replies():
            count += 1
    except grpc.RpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        # Checks that the details agree with the status.
        rpc_status.from_call(error)
        return {
            "code": error.code().name,
            "message": error.details(),
            "details": trailing.get("grpc-status-details-bin", b"").hex(),
            "why": trailing.get("x-why-bin", b"").hex(),
            "replies": count,
        }
    return {"code": "OK", "replies": count}


def errors() -> dict:
    fail = Request(act="fail", payload=bytes.fromhex(DETAILS), number=9)
    # More than fits into the windows on the way: whoever sends it must be told to stop.
    endless = lambda: (fail if number == 0 else Request(payload=PIECE) for number in range(500))
    return {
        "unary": failure(lambda: [PEER.Unary(fail, timeout=TIMEOUT)]),
        "clientStream": failure(lambda: [PEER.Collect(endless(), timeout=TIMEOUT)]),
        "serverStream": failure(lambda: PEER.Produce(fail, timeout=TIMEOUT)),
        "bidiStream": failure(lambda: PEER.Converse(iter([fail] * 9), timeout=TIMEOUT)),
    }


def codes() -> list:
    found = []
    for number in range(1, 17):
        answer = failure(lambda: [PEER.Unary(Request(act="code", number=number), timeout=TIMEOUT)])
        found.append([answer["code"], answer["message"]])
    return found


def unknown_method() -> str:
    call = CHANNEL.unary_unary("/weft.tests.peers.v1.Peer/Nothing")
    return failure(lambda: [call(b"", timeout=TIMEOUT)])["code"]


def compression() -> dict:
    payload = bytes(MEBIBYTE)
    with connect(RELAY) as channel:
        peer = peer_pb2_grpc.PeerStub(channel)
        reply = peer.Unary(Request(payload=payload, act="compress"), compression=grpc.Compression.Gzip, timeout=TIMEOUT)
    return {"intact": reply.payload == payload}


def state_is(id: str, state: str) -> bool:
    """Asks until the server says so."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        if PEER.Unary(Request(id=id, act="state"), timeout=TIMEOUT).state == state:
            return True
        time.sleep(0.01)
    return False


def hang(id: str, timeout: float) -> dict:
    """Calls of every kind that do not end by themselves."""
    request = lambda kind: Request(act="hang", id=f"{id} {kind}", number=1)

    def waiting(kind):
        yield request(kind)
        time.sleep(timeout)

    return {
        "unary": PEER.Unary.future(request("unary"), timeout=timeout),
        "clientStream": PEER.Collect.future(waiting("clientStream"), timeout=timeout),
        "serverStream": PEER.Produce(request("serverStream"), timeout=timeout),
        "bidiStream": PEER.Converse(waiting("bidiStream"), timeout=timeout),
    }


def deadline() -> dict:
    left = PEER.Unary(Request(), timeout=5).remaining
    id = f"{sys.argv[0]} {time.time()} deadline"
    seen = {}
    for kind, call in hang(id, 0.5).items():
        # `code` waits for the end.
        seen[kind] = [call.code().name, state_is(f"{id} {kind}", "over")]
    return {"left": left, "configured": PEER.Unary(Request()).remaining, "expired": seen}


def cancellation() -> dict:
    id = f"{sys.argv[0]} {time.time()} cancel"
    seen = {}
    for kind, call in hang(id, TIMEOUT).items():
        started = state_is(f"{id} {kind}", "started")
        call.cancel()
        seen[kind] = [started, call.code().name, state_is(f"{id} {kind}", "over")]
    return seen


def large_message() -> dict:
    payload = PIECE * 256
    return {"intact": PEER.Unary(Request(payload=payload), timeout=TIMEOUT).payload == payload, "bytes": len(payload)}


def large_streams() -> dict:
    pieces = 128
    up = PEER.Collect((Request(payload=PIECE) for _ in range(pieces)), timeout=TIMEOUT)
    down = [reply.payload == PIECE for reply in PEER.Produce(Request(number=pieces), timeout=TIMEOUT)]
    both = [reply.payload == PIECE for reply in PEER.Converse((Request(payload=PIECE) for _ in range(pieces)), timeout=TIMEOUT)]
    intact = lambda seen: len(seen) == pieces and all(seen)
    return {"up": up.received, "down": intact(down), "both": intact(both)}


CASES = {
    "unary": unary,
    "clientStream": client_stream,
    "serverStream": server_stream,
    "bidiStream": bidi_stream,
    "halfCloses": half_closes,
    "parallel": parallel,
    "metadata": metadata,
    "errors": errors,
    "codes": codes,
    "unknownMethod": unknown_method,
    "compression": compression,
    "deadline": deadline,
    "cancellation": cancellation,
    "largeMessage": large_message,
    "largeStreams": large_streams,
}


def main() -> None:
    """Tries every case; a failed one does not stop the others."""
    seen = {}
    for name, case in CASES.items():
        began = time.monotonic()
        try:
            seen[name] = case()
        except Exception:
            seen[name] = {"error": traceback.format_exc()}
        print(f"{name} {time.monotonic() - began:.2f} s", file=sys.stderr)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
