//! The decision engine: authorize, deadline, route, retry, balance. No I/O, no clock.
