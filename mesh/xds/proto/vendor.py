#!/usr/bin/env python3
"""Copies the closure of ROOTS out of an unpacked `envoy-types` crate into this folder.

Usage: vendor.py PATH_TO_UNPACKED_CRATE (for instance ~/.cargo/registry/src/*/envoy-types-0.7.7)
"""

import pathlib
import re
import shutil
import sys

ROOTS = [
    "envoy/service/discovery/v3/ads.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/http/adaptive_concurrency/v3/adaptive_concurrency.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/pick_first/v3/pick_first.proto",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto",
    "envoy/extensions/load_balancing_policies/subset/v3/subset.proto",
]
IMPORT = re.compile(r'^import\s+(?:public\s+|weak\s+)?"([^"]+)"', re.MULTILINE)


def main() -> None:
    crate = pathlib.Path(sys.argv[1])
    includes = [crate / "proto" / name for name in (
        "data-plane-api", "xds", "protoc-gen-validate", "googleapis", "cel-spec/proto",
        "client_model", "opentelemetry-proto")]
    here = pathlib.Path(__file__).resolve().parent
    for old in ("envoy", "xds", "udpa", "validate", "google", "cel", "io"):
        shutil.rmtree(here / old, ignore_errors=True)
    todo, done = list(ROOTS), set()
    while todo:
        name = todo.pop()
        if name in done or name.startswith("google/protobuf/"):
            continue
        done.add(name)
        source = next(i / name for i in includes if (i / name).is_file())
        target = here / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        todo += IMPORT.findall(source.read_text())
    shutil.copyfile(crate / "LICENSE", here / "LICENSE")
    print(len(done), "files")


main()
