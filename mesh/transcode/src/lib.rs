//! google.api.http routing and JSON to protobuf and back, from descriptors. No I/O.
