//! Deadlines of a connection.

use std::time::Instant;

use super::Connection;
use crate::{ConnectionError, ErrorCode, Limits};

/// The payload of our keepalive PINGs, whose answer is not told.
pub(super) const KEEPALIVE: [u8; 8] = *b"weft-kal";

#[derive(Debug)]
pub(super) struct Timers {
    /// For preface and first SETTINGS.
    pub preface: Option<Instant>,
    /// For the acknowledgement of our first SETTINGS.
    pub settings: Option<Instant>,
    /// For the end of a frame other than DATA, or of a header block, that has begun.
    pub frame: Option<Instant>,
    pub last_received: Instant,
    /// When a keepalive PING was sent that nothing has come after.
    pub pinged: Option<Instant>,
}

impl Timers {
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            preface: Some(now + limits.preface_timeout),
            settings: Some(now + limits.settings_timeout),
            frame: None,
            last_received: now,
            pinged: None,
        }
    }
}

impl<T: Copy> Connection<T> {
    /// When to call [`on_deadline`](Self::on_deadline).
    pub fn deadline(&self) -> Option<Instant> {
        if self.error.is_some() {
            return None;
        }
        let timers = &self.timers;
        [
            timers.preface,
            timers.settings,
            timers.frame,
            self.keepalive_deadline(),
            self.resets_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn keepalive_deadline(&self) -> Option<Instant> {
        let keepalive = self.limits.keepalive.as_ref()?;
        if let Some(pinged) = self.timers.pinged {
            return Some(pinged + keepalive.timeout);
        }
        (keepalive.without_streams || self.streams.len() > 0)
            .then(|| self.timers.last_received + keepalive.interval)
    }

    /// Who resets streams does not say what time it is: the wait begins when this is due for the first time.
    fn resets_deadline(&self) -> Option<Instant> {
        let is_asked = self.resets.is_asked();
        is_asked.then(|| self.resets.due.unwrap_or(self.now))
    }

    /// Sends a PING that is due, or fails if the peer was too slow.
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive).
    pub fn on_deadline(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.now = now;
        if self.resets.is_asked() && self.resets.due.is_none() {
            self.resets.due = Some(now + self.limits.resets_timeout);
        }
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let slow = |code, reason| Err(ConnectionError::new(code, reason));
        let result = if is_due(self.timers.preface) {
            slow(ErrorCode::PROTOCOL_ERROR, "preface_timeout")
        } else if is_due(self.timers.settings) {
            slow(ErrorCode::SETTINGS_TIMEOUT, "settings_timeout")
        } else if is_due(self.resets.due) {
            slow(ErrorCode::SETTINGS_TIMEOUT, "resets_timeout")
        } else if is_due(self.timers.frame) {
            slow(ErrorCode::ENHANCE_YOUR_CALM, "frame_timeout")
        } else if is_due(self.keepalive_deadline()) {
            if self.timers.pinged.is_some() {
                slow(ErrorCode::NO_ERROR, "keepalive_timeout")
            } else {
                self.ping(KEEPALIVE);
                self.timers.pinged = Some(now);
                Ok(())
            }
        } else {
            Ok(())
        };
        result.map_err(|error| self.fail(error))
    }
}
