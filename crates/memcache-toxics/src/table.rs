//! The faults as a table, for `docs/memcache-toxics.md`.

use std::fmt::Write;

use toxiproxy::toxic::Param;
use toxiproxy::wire::Attribute;

use crate::faults::{FAULTS, Fault};
use crate::selector::PARAMS;

/// The table of the faults and that of the attributes that all have, in Markdown.
pub fn table() -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out);
    out
}

fn write(out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "| Toxic | What it does | On | Harm | Own attributes | When it is removed | What a client shows by it |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for Fault { kind, summary, proves, own, harm, removal, declared } in FAULTS {
        let own: Vec<String> = own.iter().map(|(param, says)| format!("{}: {says}", shown(param))).collect();
        let own = if own.is_empty() { "-".to_owned() } else { own.join("; ") };
        let (name, on, harm) = (kind.name, declared.on.shown(), harm.name());
        writeln!(out, "| `{name}` | {summary} | {on} | {harm} | {own} | {removal} | {proves} |")?;
    }
    writeln!(out, "\n| Attribute of each | What it says |\n|---|---|")?;
    for (param, says) in PARAMS {
        writeln!(out, "| {} | {says} |", shown(&param))?;
    }
    Ok(())
}

fn shown(param: &Param) -> String {
    match &param.default {
        Attribute::Text(text) if text.is_empty() => format!("`{}`", param.name),
        Attribute::Text(text) => format!("`{}` = `{text}`", param.name),
        Attribute::Number(number) => format!("`{}` = {number}", param.name),
    }
}
