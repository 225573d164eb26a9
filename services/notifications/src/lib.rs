//! Turns order events into mails, each once.
