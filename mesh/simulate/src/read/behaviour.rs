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
        if let Some(latency) = self.maybe(fields, "latency", Self::spread) {
            behaviour.latency = latency;
        }
        for (key, is_cycle) in [("answers", false), ("cycle", true)] {
            if let Some(answers) = fields.take(key).and_then(|node| self.answers(node)) {
                (behaviour.answers, behaviour.is_cycle) = (answers, is_cycle);
            }
        }
        if let Some(node) = fields.take("fail") {
            behaviour.fail = self.fail(node);
        }
        if let Some(stream) = self.maybe(fields, "stream", Self::time) {
            behaviour.stream = stream;
        }
        if let Some(workers) = self.maybe(fields, "workers", Self::some) {
            behaviour.workers = Some(workers);
        }
        if let Some(queue) = self.maybe(fields, "queue", Self::count) {
            behaviour.queue = queue;
        }
        if let Some(node) = fields.take("calls") {
            let callees = self.decoder.texts(node, "`calls`");
            let callees = callees.iter();
            let callees = callees.filter_map(|method| self.callee(method, None));
            behaviour.calls = callees.collect();
        }
        self.around(fields, behaviour);
    }

    /// What is around its answers: connections, health checks, load reports.
    fn around(&mut self, fields: &mut Fields<'_>, behaviour: &mut Behaviour) {
        let is = |node: &Node, word| matches!(&node.value, Value::Text(text) if text == word);
        if let Some(node) = fields.take("connect") {
            behaviour.connect = match is(node, "never") {
                true => None,
                false => self.time(node, "`connect`"),
            };
        }
        if let Some(streams) = self.maybe(fields, "streams", Self::some) {
            behaviour.streams = streams;
        }
        if let Some(node) = fields.take("serving") {
            match &node.value {
                Value::Bool(is_serving) => behaviour.is_serving = Some(*is_serving),
                _ if is(node, "hangs") => behaviour.is_serving = None,
                _ => {
                    let expected = "`true`, `false` or `hangs`";
                    self.decoder.wrong(node, "`serving`", expected);
                }
            }
        }
        if let Some(node) = fields.take("load") {
            behaviour.load = (!is(node, "none")).then(|| self.load_report(node));
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
