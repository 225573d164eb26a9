//! TLS and the bytes around it.

use weft_http2::Connection;

use super::{
    kind::Token,
    outgoing::Outgoing,
    tls::{Progress, Tls},
};

/// How much plaintext is encrypted, and written, at once.
const ENCRYPT_BYTES: usize = 256 * 1024;

/// The TLS side of a connection.
pub(crate) struct Wire {
    pub(crate) tls: Tls,
    pub(super) outgoing: Outgoing,
}

impl Wire {
    pub(crate) fn new(tls: Tls) -> Self {
        Self {
            tls,
            outgoing: Outgoing::default(),
        }
    }

    /// Decrypts what came. Plaintext goes to `deliver`.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<Progress, rustls::Error> {
        self.tls.receive(bytes, &mut self.outgoing, deliver)
    }

    /// Encrypts some of the output. True as [`Connection::written`].
    pub(super) fn encrypt(&mut self, h2: &mut Connection<Token>) -> bool {
        let output = h2.output();
        if output.is_empty() {
            return false;
        }
        let some = &output[..output.len().min(ENCRYPT_BYTES)];
        let taken = self.tls.encrypt(some, &mut self.outgoing);
        h2.written(taken)
    }
}
