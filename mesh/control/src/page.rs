//! The status as one plain page that refreshes itself.

use std::fmt::Write;

use serde_json::Value;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content='width=device-width,initial-scale=1'>\
<meta http-equiv=refresh content=5><title>weft control</title><style>\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2330}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d8dde6;vertical-align:top}\
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#fdf1f0;padding:.8rem;overflow:auto}\
.bad{color:#a3261b}.good{color:#1f6f3f}div{overflow-x:auto}</style>";

/// Renders what `/status` answers. Every value is escaped.
pub(crate) fn render(status: &Value) -> String {
    let mut page = HEAD.to_owned();
    let _ = write!(
        page,
        "<h1>weft control</h1><p>Trust domain <code>{}</code>, namespace <code>{}</code>, mesh file <code>{}</code></p>",
        text(&status["trustDomain"]),
        text(&status["namespace"]),
        text(&status["meshFile"]["path"]),
    );
    problems(&mut page, list(&status["meshFile"]["problems"]));
    services(&mut page, list(&status["services"]));
    nodes(&mut page, list(&status["nodes"]));
    page
}

fn problems(page: &mut String, problems: &[Value]) {
    if problems.is_empty() {
        return;
    }
    page.push_str("<h2 class=bad>The mesh file is broken, an older one is in use</h2><pre>");
    for problem in problems {
        let _ = writeln!(
            page,
            "{}:{}: {}\n    {}\n    {}",
            text(&problem["file"]),
            text(&problem["line"]),
            text(&problem["message"]),
            text(&problem["snippet"]),
            text(&problem["hint"]),
        );
    }
    page.push_str("</pre>");
}

fn services(page: &mut String, services: &[Value]) {
    page.push_str("<h2>Services</h2><div><table><tr><th>Service<th>Identity<th>Endpoints");
    for service in services {
        let endpoints: Vec<_> = list(&service["endpoints"])
            .iter()
            .map(|endpoint| {
                format!(
                    "{} <code>{}</code>",
                    text(&endpoint["instance"]),
                    text(&endpoint["address"])
                )
            })
            .collect();
        let endpoints = match endpoints.is_empty() {
            true => "<span class=bad>none</span>".to_owned(),
            false => endpoints.join("<br>"),
        };
        let _ = write!(
            page,
            "<tr><td>{}<td><code>{}</code><td>{endpoints}",
            text(&service["authority"]),
            text(&service["identity"]),
        );
    }
    page.push_str("</table></div>");
}

fn nodes(page: &mut String, nodes: &[Value]) {
    page.push_str("<h2>Data planes</h2><div><table><tr><th>Node<th>Identity<th>Configuration");
    for node in nodes {
        let mut types = String::new();
        for (kind, status) in node["types"].as_object().into_iter().flatten() {
            let refused = &status["nacked"];
            let _ = match refused.is_null() {
                true => write!(
                    types,
                    "{} <code class=good>{}</code> ",
                    escape(kind),
                    text(&status["acked"])
                ),
                false => write!(
                    types,
                    "{} <code class=bad>{} refused: {}</code> ",
                    escape(kind),
                    text(&refused["version"]),
                    text(&refused["detail"])
                ),
            };
        }
        let _ = write!(
            page,
            "<tr><td>{}<td><code>{}</code><td>{types}",
            text(&node["node"]),
            text(&node["identity"]),
        );
    }
    page.push_str("</table></div>");
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape(text),
        other => escape(&other.to_string()),
    }
}

fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                c => out.push(c),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_about_itself_is_escaped() {
        let status = serde_json::json!({ "nodes": [{ "node": "<script>\"x\"</script>" }] });
        let page = render(&status);
        assert!(!page.contains("<script>"));
        assert!(page.contains("&lt;script&gt;&quot;x&quot;"));
    }
}
