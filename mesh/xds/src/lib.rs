//! xDS: the wire types, the ADS server and the ADS client.
