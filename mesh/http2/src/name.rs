//! Header field names a proxy of gRPC reads, as numbers.

macro_rules! names {
    ($($name:ident = $text:literal,)*) => {
        /// A known field name, or `Other`. Known are the names of HPACK's static table and those a gRPC
        /// proxy acts on: they are compared as numbers and never copied.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        #[allow(missing_docs)] // The names say it.
        pub enum Name {
            $($name,)*
            /// Any other name; its bytes are in the block.
            Other,
        }

        const TEXTS: &[&str] = &[$($text,)*];
        const NAMES: &[Name] = &[$(Name::$name,)*];
    };
}

names! {
    // The pseudo-header fields come first: `is_pseudo` counts on it.
    Authority = ":authority",
    Method = ":method",
    Path = ":path",
    Scheme = ":scheme",
    Status = ":status",
    // The rest of HPACK's static table.
    AcceptCharset = "accept-charset",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    AcceptRanges = "accept-ranges",
    Accept = "accept",
    AccessControlAllowOrigin = "access-control-allow-origin",
    Age = "age",
    Allow = "allow",
    Authorization = "authorization",
    CacheControl = "cache-control",
    ContentDisposition = "content-disposition",
    ContentEncoding = "content-encoding",
    ContentLanguage = "content-language",
    ContentLength = "content-length",
    ContentLocation = "content-location",
    ContentRange = "content-range",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Etag = "etag",
    Expect = "expect",
    Expires = "expires",
    From = "from",
    Host = "host",
    IfMatch = "if-match",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    IfUnmodifiedSince = "if-unmodified-since",
    LastModified = "last-modified",
    Link = "link",
    Location = "location",
    MaxForwards = "max-forwards",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    Range = "range",
    Referer = "referer",
    Refresh = "refresh",
    RetryAfter = "retry-after",
    Server = "server",
    SetCookie = "set-cookie",
    StrictTransportSecurity = "strict-transport-security",
    TransferEncoding = "transfer-encoding",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    WwwAuthenticate = "www-authenticate",
    // Forbidden in HTTP/2.
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Upgrade = "upgrade",
    // gRPC.
    Te = "te",
    GrpcTimeout = "grpc-timeout",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcStatusDetailsBin = "grpc-status-details-bin",
    GrpcEncoding = "grpc-encoding",
    GrpcAcceptEncoding = "grpc-accept-encoding",
    GrpcPreviousRpcAttempts = "grpc-previous-rpc-attempts",
    GrpcRetryPushbackMs = "grpc-retry-pushback-ms",
    GrpcTraceBin = "grpc-trace-bin",
    GrpcTagsBin = "grpc-tags-bin",
    EndpointLoadMetrics = "endpoint-load-metrics",
    EndpointLoadMetricsBin = "endpoint-load-metrics-bin",
    LbCost = "lb-cost-bin",
    // Traces and proxies.
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Baggage = "baggage",
    XRequestId = "x-request-id",
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedClientCert = "x-forwarded-client-cert",
    // Weft.
    XWeftCaller = "x-weft-caller",
    XWeftSubject = "x-weft-subject",
    XWeftCriticality = "x-weft-criticality",
    XWeftUnprocessed = "x-weft-unprocessed",
    XWeftDecisionId = "x-weft-decision-id",
    RatelimitLimit = "ratelimit-limit",
    RatelimitRemaining = "ratelimit-remaining",
    RatelimitReset = "ratelimit-reset",
}

// Sets of names are the bits of a `u128`, with one for `Other`.
const _: () = assert!(NAMES.len() < 128);

/// Slots of the perfect-enough hash below: four times the names keeps probing short.
const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;
static INDEX: [u8; SLOTS] = index();

const fn slot(text: &[u8]) -> usize {
    let length = text.len();
    let ends = text[0] as usize * 31 + text[length - 1] as usize * 7;
    (length * 67 + ends + text[length / 2] as usize * 131 + text[length * 3 / 4] as usize * 17)
        % SLOTS
}

const fn index() -> [u8; SLOTS] {
    let mut index = [EMPTY; SLOTS];
    let mut name = 0;
    while name < TEXTS.len() {
        let mut at = slot(TEXTS[name].as_bytes());
        while index[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        index[at] = name as u8;
        name += 1;
    }
    index
}

impl Name {
    /// The name with these bytes, which must be lower case to be known.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Other;
        }
        let mut at = slot(bytes);
        while INDEX[at] != EMPTY {
            let name = usize::from(INDEX[at]);
            if TEXTS[name].as_bytes() == bytes {
                return NAMES[name];
            }
            at = (at + 1) % SLOTS;
        }
        Self::Other
    }

    /// The name as it is sent; empty for `Other`.
    #[inline]
    pub fn as_str(self) -> &'static str {
        TEXTS.get(self as usize).copied().unwrap_or("")
    }

    /// Starts with a colon.
    #[inline]
    pub fn is_pseudo(self) -> bool {
        (self as u8) <= (Self::Status as u8)
    }

    /// Its values must not enter a compression table, where an attacker could guess them (RFC 7541,
    /// section 7.1).
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Authorization | Self::ProxyAuthorization | Self::Cookie | Self::SetCookie
        )
    }

    /// Its value is new in nearly every message, so that a compression table gains nothing from it.
    #[inline]
    pub(crate) fn is_volatile(self) -> bool {
        static VOLATILE: [bool; NAMES.len() + 1] = Names::of([
            Name::GrpcTimeout,
            Name::Traceparent,
            Name::XRequestId,
            Name::XWeftDecisionId,
            Name::ContentLength,
            Name::Date,
            Name::GrpcMessage,
            Name::GrpcStatusDetailsBin,
            Name::EndpointLoadMetrics,
            Name::EndpointLoadMetricsBin,
        ])
        .each();
        VOLATILE[self as usize]
    }
}

/// A set of names, of which `Other` is one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Names(u128);

/// Looked up, because shifting a `u128` by a number that is not constant takes longer.
const BITS: [u128; NAMES.len() + 1] = {
    let mut bits = [0; NAMES.len() + 1];
    let mut at = 0;
    while at < bits.len() {
        bits[at] = 1 << at;
        at += 1;
    }
    bits
};

impl Names {
    /// The set of these.
    pub const fn of<const N: usize>(names: [Name; N]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < N {
            set |= BITS[names[at] as usize];
            at += 1;
        }
        Self(set)
    }

    /// All of both sets.
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether `name` is one of them.
    #[inline]
    pub const fn contains(self, name: Name) -> bool {
        self.0 & BITS[name as usize] != 0
    }

    /// Whether a name is in both sets.
    #[inline]
    pub const fn overlaps(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Of each name whether it is one of them: faster to ask than the set.
    const fn each(self) -> [bool; NAMES.len() + 1] {
        let mut each = [false; NAMES.len() + 1];
        let mut at = 0;
        while at < each.len() {
            each[at] = self.0 & BITS[at] != 0;
            at += 1;
        }
        each
    }

    #[inline]
    pub(crate) const fn insert(&mut self, name: Name) {
        self.0 |= BITS[name as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_by_its_bytes() {
        for (&name, text) in NAMES.iter().zip(TEXTS) {
            assert_eq!(Name::from_bytes(text.as_bytes()), name);
            assert_eq!(name.as_str(), *text);
            assert_eq!(name.is_pseudo(), text.starts_with(':'));
        }
        for text in ["", "x", ":", "Host", "grpc-timeouts", "x-weft-caller2"] {
            assert_eq!(Name::from_bytes(text.as_bytes()), Name::Other);
        }
        assert!(!Name::Other.is_pseudo());
    }

    #[test]
    fn a_lookup_compares_few_names() {
        let worst = TEXTS.iter().map(|text| {
            let start = slot(text.as_bytes());
            (0..)
                .take_while(|step| INDEX[(start + step) % SLOTS] != EMPTY)
                .count()
        });
        assert!(worst.max() < Some(8));
    }
}
