//! A recorded run whose every text from outside is an attack on its reader.

use std::path::Path;

use observation::journal::{Entry, Journal, Source};
use observation::{Note, Record};
use serde_json::Value;

/// Ends of elements, attributes, comments, CDATA, strings, templates, tables and terminals.
pub const PAYLOADS: [&str; 25] = [
    "<script>alert(1)</script>",
    "\"onload=\"alert(1)",
    "'><img src=x onerror=alert(1)>",
    "]]><script>alert(1)</script><![CDATA[",
    "</script><script>alert(1)</script>",
    "</style></title></textarea><svg/onload=alert(1)>",
    "<!--<script>",
    "--><script>alert(1)</script>",
    "`${alert(1)}` ``` ~~~",
    "| a | b | \\| c",
    "[x](javascript:alert(1)) ![x](https://example.com/p.png)",
    "<javascript:alert(1)> https://example.com @everyone #1",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1)>x</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62; &amp;",
    "\u{1b}]0;owned\u{7}\u{1b}[31m\u{1b}[2J\r\n\u{8}",
    "\u{0}\u{1}\u{b}\u{7f}\u{85}\u{9b}31m",
    "\u{202e}cod.exe\u{202c} \u{2066}a\u{2069} \u{200f}\u{61c}",
    "\u{2028}\u{2029}\u{fffe}\u{ffff}\u{feff}",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<base href=//example.com><meta http-equiv=refresh content=0;url=//example.com>",
    "<style>@import'//example.com/x.css'</style><link rel=stylesheet href=//example.com/x.css>",
    "{{constructor.constructor('alert(1)')()}} <%= alert(1) %>",
    "../../../etc/passwd \\..\\ C:\\ /dev/null",
    "\u{ff1c}script\u{ff1e}alert(1)\u{ff1c}/script\u{ff1e} __proto__",
];

/// Words of the schema: changing them makes another record, not another text.
const SCHEMA: [&str; 12] = [
    "type", "phase", "state", "kind", "from", "to", "status", "on_open", "arrivals", "outcome", "breaker",
    "meaning",
];

/// `honest` with a payload in every text, the same one for the same text, and every payload in every frame as a note.
pub fn journal(honest: &Journal) -> Journal {
    let mut lines: Vec<u8> = Vec::new();
    for entry in &honest.entries {
        let mut value = serde_json::to_value(entry).unwrap();
        poison(&mut value["record"]);
        serde_json::to_writer(&mut lines, &value).unwrap();
        lines.push(b'\n');
    }
    let mut journal = Journal::parse(&lines, Path::new("hostile")).unwrap();
    let framed = PAYLOADS.iter().flat_map(|payload| frames(payload));
    let notes = framed.map(|text| Note::new(1, "note".into(), text));
    let notes = notes.map(|note| Entry { at_us: 1, source: Source::Runner, record: Record::Note(note) });
    let end = journal.entries.len() - 1;
    journal.entries.splice(end..end, notes);
    journal
}

/// The same attack in 20 contexts.
fn frames(payload: &str) -> Vec<String> {
    let before = ["", "\"", "'", "<!--", "`"];
    let after = ["", "\">", "'/>", "-->"];
    before.iter().flat_map(|b| after.iter().map(move |a| format!("{b}{payload}{a}"))).collect()
}

fn poison(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(text) if !SCHEMA.contains(&key.as_str()) => {
                        let place = text.bytes().map(usize::from).sum::<usize>() % PAYLOADS.len();
                        *text = format!("{}{text}", PAYLOADS[place]);
                    }
                    value if key != "ops" && key != "attempts" => poison(value),
                    _ => {}
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(poison),
        _ => {}
    }
}

#[test]
fn five_hundred_attacks_are_made() {
    assert_eq!(PAYLOADS.iter().flat_map(|payload| frames(payload)).count(), 500);
}
