//! One JSON object a line: time, level, target, message, the event's fields, the fields of the spans
//! around it, and the ids of the trace.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber, dispatcher,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormattedFields,
        format::{FormatEvent, FormatFields, Writer},
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// The format of log lines that machines read.
#[derive(Debug)]
pub(super) struct JsonLines {
    process: String,
}

impl JsonLines {
    pub(super) fn new(process: &str) -> Self {
        Self {
            process: process.to_owned(),
        }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut line = Map::new();
        event.record(&mut Fields(&mut line));
        let message = line.remove("message").unwrap_or_default();
        if let Some(scope) = context.event_scope() {
            for span in scope {
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                    && let Ok(Value::Object(fields)) = serde_json::from_str(&fields.fields)
                {
                    // The innermost span wins, and the event over every span.
                    for (key, value) in fields
                        .into_iter()
                        .filter(|(key, _)| !key.starts_with("otel."))
                    {
                        line.entry(key).or_insert(value);
                    }
                }
            }
        }
        if let Some(span) = context.lookup_current() {
            let ids = dispatcher::get_default(|dispatch| {
                crate::trace::span_context(&span.id(), dispatch)
            });
            if let Some(ids) = ids {
                line.insert("trace_id".into(), ids.trace_id().to_string().into());
                line.insert("span_id".into(), ids.span_id().to_string().into());
            }
        }
        // What people look for first stands first.
        let head: [(&str, Value); 5] = [
            ("time", time.into()),
            ("level", metadata.level().as_str().into()),
            ("process", self.process.as_str().into()),
            ("message", message),
            ("target", metadata.target().into()),
        ];
        let mut separator = '{';
        let head = head.iter().map(|(key, value)| (*key, value));
        let rest = line.iter().map(|(key, value)| (key.as_str(), value));
        for (key, value) in head.chain(rest) {
            write!(writer, "{separator}{}:{value}", Value::from(key))?;
            separator = ',';
        }
        writeln!(writer, "}}")
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0
            .insert(field.name().trim_start_matches("r#").to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.put(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}
