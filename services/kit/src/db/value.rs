//! What statements are given, for either database.

/// A value to bind to `$1`, `$2`, ... Make it with [`crate::params!`]. An absent value keeps its type,
/// which PostgreSQL wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// BOOLEAN.
    Bool(Option<bool>),
    /// BIGINT.
    Int(Option<i64>),
    /// DOUBLE PRECISION.
    Real(Option<f64>),
    /// TEXT.
    Text(Option<String>),
    /// BYTEA.
    Bytes(Option<Vec<u8>>),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident by $convert:expr;)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(Some(($convert)(value)))
            }
        }

        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map($convert))
            }
        }
    )*};
}

value_from! {
    bool => Bool by |value| value;
    i64 => Int by |value| value;
    i32 => Int by i64::from;
    u32 => Int by i64::from;
    f64 => Real by |value| value;
    String => Text by |value| value;
    &str => Text by str::to_owned;
    &String => Text by String::clone;
    Vec<u8> => Bytes by |value| value;
    &[u8] => Bytes by <[u8]>::to_vec;
    &Vec<u8> => Bytes by Vec::clone;
    [u8; 32] => Bytes by Vec::from;
}

/// The parameters of a statement, in the order of `$1`, `$2`, ...: booleans, integers up to `i64`,
/// `f64`, texts, bytes, and options of them.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$($crate::db::Value::from($value)),*] };
}
