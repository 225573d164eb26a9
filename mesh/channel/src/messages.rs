//! Counts the gRPC messages of a stream, and their bytes, as its payload goes by, however it is cut.

/// The head of a message: a flag and the length.
const HEAD: u8 = 5;

/// What went by in one direction of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many messages have begun.
    pub messages: u64,
    /// How many bytes they had, as they were sent: compressed or not, without their heads.
    pub bytes: u64,
}

impl Traffic {
    /// The same messages, of which only so many bytes, heads included, were sent on.
    pub fn of(self, sent: u64) -> Self {
        let heads = self.messages * u64::from(HEAD);
        Self {
            bytes: sent.saturating_sub(heads),
            ..self
        }
    }
}

/// One direction of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages {
    seen: Traffic,
    /// How much is still to come of the one under way.
    left: u32,
    /// How much of a head has come, and the last four bytes of it.
    head: u8,
    length: u32,
}

impl Messages {
    /// What has gone by.
    pub fn traffic(self) -> Traffic {
        self.seen
    }

    /// More payload has come.
    pub fn see(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = bytes.len().min(self.left as usize);
            // No more than `left`, so it fits.
            self.left -= skipped as u32;
            self.seen.bytes += skipped as u64;
            let Some((&byte, rest)) = bytes[skipped..].split_first() else {
                return;
            };
            bytes = rest;
            self.seen.messages += u64::from(self.head == 0);
            self.head += 1;
            self.length = self.length << 8 | u32::from(byte);
            if self.head == HEAD {
                (self.left, self.head) = (self.length, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_wherever_payload_is_cut() {
        let lengths = [0_u32, 1, 300, 0, 70_000, 5];
        let message = |&length: &u32| {
            let head = [&[1][..], &length.to_be_bytes()].concat();
            // A body that looks like heads must not be read as one.
            [head, vec![0; length as usize]].concat()
        };
        let payload: Vec<u8> = lengths.iter().flat_map(message).collect();
        for cut in [1, 2, 3, 4, 5, 6, 7, 304, 9_000, payload.len()] {
            let mut messages = Messages::default();
            payload.chunks(cut).for_each(|part| messages.see(part));
            let bytes = lengths.iter().map(|&length| u64::from(length)).sum();
            let all = Traffic { messages: 6, bytes };
            assert_eq!(messages.traffic(), all, "cut every {cut} bytes");
            assert_eq!(all.of(payload.len() as u64), all);
            assert_eq!(all.of(0).bytes, 0);
            messages.see(&[0]);
            assert_eq!(messages.traffic().messages, 7, "one that has begun counts");
        }
    }
}
