//! Workload identity: certificate authority, CSR client, rotating TLS by SPIFFE ID.
