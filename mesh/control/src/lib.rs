//! The control plane: registry, ADS, certificate authority, status.
