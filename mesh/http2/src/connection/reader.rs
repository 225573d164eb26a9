//! Where in the stream of bytes a connection is.

use super::{Role, data::DataFrame, headers::OpenBlock};
use crate::frame::{HEAD_BYTES, Head};

/// Where in the stream of bytes we are.
#[derive(Debug)]
pub(super) struct Reader {
    pub stage: Stage,
    /// The beginning of a head or of a frame that is needed whole.
    pub partial: Vec<u8>,
    /// The header block of which END_HEADERS has not come.
    pub open_block: Option<OpenBlock>,
    /// Its fragments so far.
    pub fragments: Vec<u8>,
    /// The first frame must be SETTINGS.
    pub settings_seen: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// So many bytes of the client's preface have come.
    Preface(usize),
    Head,
    /// The payload of a frame that is needed whole.
    Whole(Head),
    /// The payload of DATA.
    Data(DataFrame),
    /// So many bytes that nobody needs.
    Skip(u32),
}

impl Reader {
    pub fn new(role: Role) -> Self {
        Self {
            stage: if role == Role::Server {
                Stage::Preface(0)
            } else {
                Stage::Head
            },
            partial: Vec::new(),
            open_block: None,
            fragments: Vec::new(),
            settings_seen: false,
        }
    }

    /// The next head, when all of it is there.
    pub fn head(&mut self, input: &mut &[u8]) -> Option<Head> {
        if self.partial.is_empty()
            && let Some((head, rest)) = input.split_first_chunk::<HEAD_BYTES>()
        {
            *input = rest;
            return Some(Head::parse(head));
        }
        if !self.collect(HEAD_BYTES, input) {
            return None;
        }
        let head = self.partial.first_chunk::<HEAD_BYTES>().map(Head::parse);
        self.partial.clear();
        head
    }

    /// Takes input until `partial` has so many bytes.
    pub fn collect(&mut self, length: usize, input: &mut &[u8]) -> bool {
        let missing = length.saturating_sub(self.partial.len()).min(input.len());
        let (bytes, rest) = input.split_at(missing);
        self.partial.extend_from_slice(bytes);
        *input = rest;
        self.partial.len() == length
    }

    /// Something has begun that a peer sends in one go, unless it stalls.
    pub fn is_within_frame(&self) -> bool {
        self.open_block.is_some()
            || match self.stage {
                Stage::Head => !self.partial.is_empty(),
                Stage::Whole(_) => true,
                Stage::Preface(_) | Stage::Data(_) | Stage::Skip(_) => false,
            }
    }
}
