//! What every process needs: tracing, metrics, admin port, signals.
