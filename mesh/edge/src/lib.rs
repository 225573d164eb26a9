//! The front: REST and gRPC on one port, tokens, OpenAPI, the storefront.
