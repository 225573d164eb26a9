//! What an endpoint does with requests.

use std::sync::Arc;

use weft_model::{
    Problem, Spanned,
    yaml::{Fields, Node, Value},
};
use weft_policy::{LoadReport, code};

use super::Reader;
use crate::{
    spec::Behaviour,
    words::{ANSWERS, Answer},
};

impl Reader<'_> {
    pub(super) fn behaviour(&mut self, fields: &mut Fields<'_>, behaviour: &mut Behaviour) {
        let latency = fields.take("latency");
        if let Some(latency) = latency.and_then(|node| self.spread(node, "`latency`")) {
            behaviour.latency = latency;
        }
        if let Some(answers) = fields.take("answers").and_then(|node| self.answers(node)) {
            (behaviour.answers, behaviour.is_cycle) = (answers, false);
        }
        if let Some(answers) = fields.take("cycle").and_then(|node| self.answers(node)) {
            (behaviour.answers, behaviour.is_cycle) = (answers, true);
        }
        if let Some(node) = fields.take("fail") {
            behaviour.fail = self.fail(node);
        }
        if let Some(node) = fields.take("connect") {
            let is_never = matches!(&node.value, Value::Text(text) if text == "never");
            behaviour.connect = if is_never {
                None
            } else {
                self.time(node, "`connect`")
            };
        }
        if let Some(node) = fields.take("workers") {
            behaviour.workers = self.small(node, "`workers`", 1);
        }
        if let Some(queue) = fields
            .take("queue")
            .and_then(|node| self.small(node, "`queue`", 0))
        {
            behaviour.queue = queue;
        }
        let streams = fields.take("streams");
        if let Some(streams) = streams.and_then(|node| self.small(node, "`streams`", 1)) {
            behaviour.streams = streams;
        }
        if let Some(stream) = fields
            .take("stream")
            .and_then(|node| self.time(node, "`stream`"))
        {
            behaviour.stream = stream;
        }
        if let Some(node) = fields.take("load") {
            let is_none = matches!(&node.value, Value::Text(word) if word == "none");
            behaviour.load = (!is_none).then(|| self.load_report(node));
        }
        if let Some(node) = fields.take("serving") {
            match &node.value {
                Value::Bool(is_serving) => behaviour.is_serving = Some(*is_serving),
                Value::Text(word) if word == "hangs" => behaviour.is_serving = None,
                _ => self
                    .decoder
                    .wrong(node, "`serving`", "`true`, `false` or `hangs`"),
            }
        }
        if let Some(node) = fields.take("calls") {
            let callees = self.decoder.texts(node, "`calls`");
            let callees = callees
                .iter()
                .filter_map(|method| self.callee(method, None));
            behaviour.calls = callees.collect();
        }
    }

    /// `30%`, which is `UNAVAILABLE`, or `30% INTERNAL`.
    fn fail(&mut self, node: &Node) -> Option<(f64, i32)> {
        let text = self.decoder.text(node, "`fail`")?;
        let (share, status) = match text.split_once(' ') {
            Some((share, name)) => {
                let name = Spanned::new(name.trim().to_owned(), text.span);
                (share.to_owned(), self.status(&name)?)
            }
            None => (text.value.clone(), code::UNAVAILABLE),
        };
        let share = self.share(&Spanned::new(share, text.span), "`fail`")?;
        Some((share, status))
    }

    fn load_report(&mut self, node: &Node) -> LoadReport {
        let mut report = LoadReport::default();
        let mut fields = self.decoder.fields(node, "`load`");
        for (key, part) in [
            ("utilization", &mut report.utilization),
            ("rps", &mut report.rps),
            ("eps", &mut report.eps),
        ] {
            let Some(node) = fields.take(key) else {
                continue;
            };
            let Some(text) = self.number_text(node, key) else {
                continue;
            };
            match text.parse() {
                Ok(number) => *part = number,
                Err(_) => self.decoder.wrong(node, key, "a number"),
            }
        }
        fields.finish(self.decoder);
        report
    }

    pub(super) fn answers(&mut self, node: &Node) -> Option<Arc<[Answer]>> {
        let texts = match &node.value {
            Value::List(_) => self.decoder.texts(node, "`answers`"),
            _ => vec![self.decoder.text(node, "`answers`")?],
        };
        let answers: Vec<_> = texts.iter().filter_map(|text| self.answer(text)).collect();
        (!answers.is_empty()).then(|| answers.into())
    }

    fn answer(&mut self, text: &Spanned<String>) -> Option<Answer> {
        let answer = Answer::parse(text);
        if answer.is_none() {
            let message = format!("`{}` is nothing an endpoint can answer", text.value);
            let problem = Problem::new("wrong-value", text.span, message);
            self.decoder.report(problem.hint(ANSWERS));
        }
        answer
    }
}
