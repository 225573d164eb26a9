use std::fmt;

/// Why a header block ends its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// It ends within a field.
    Truncated,
    /// An integer of more than 28 bits.
    IntegerOverflow,
    /// No entry has this index.
    InvalidIndex,
    /// A string is not Huffman code.
    InvalidHuffman,
    /// A size update behind a field, or above the limit.
    InvalidSizeUpdate,
    /// The list is more than four times as large as allowed; the rest was not decoded.
    WayTooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "header block ends within a field",
            Self::IntegerOverflow => "integer in header block is too large",
            Self::InvalidIndex => "no header table entry has this index",
            Self::InvalidHuffman => "invalid huffman code in header block",
            Self::InvalidSizeUpdate => "invalid header table size update",
            Self::WayTooLarge => "header_list_way_too_large",
        }
    }
}
