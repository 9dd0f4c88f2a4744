//! A sheet as one HTML document: no script, nothing fetched, every text escaped.

use std::fmt::Write as _;

use super::sheet::{Sheet, class_of};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2430}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{border:1px solid #d5dae2;padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:#f2f4f8}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}.good{color:#176b34}.bad{color:#a81c1c;font-weight:600}.unknown{color:#8a5a00;font-weight:600}\
@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr{break-inside:avoid}}";

/// Writes a sheet.
pub(super) fn write(sheet: &Sheet) -> String {
    let title = escaped(&sheet.title);
    let mut out = String::new();
    // What a policy forbids cannot come in through a text that was not escaped.
    _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}: <span class=\"{}\">{}</span></h1>\n",
        class_of(&sheet.verdict),
        escaped(&sheet.verdict),
    );
    for section in &sheet.sections {
        _ = writeln!(out, "<h2>{}</h2>", escaped(section.title));
        if section.rows.is_empty() {
            out.push_str("<p>Nothing.</p>\n");
            continue;
        }
        out.push_str("<table>\n");
        if section.head.iter().any(|head| !head.is_empty()) {
            row(&mut out, "th", section.head.iter().copied());
        }
        for cells in &section.rows {
            row(&mut out, "td", cells.iter().map(String::as_str));
        }
        out.push_str("</table>\n");
    }
    out.push_str("</body></html>\n");
    out
}

fn row<'c>(out: &mut String, tag: &str, cells: impl Iterator<Item = &'c str>) {
    out.push_str("<tr>");
    for cell in cells {
        let class = class_of(cell);
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        _ = write!(out, "<{tag}{class}>{}</{tag}>", escaped(cell));
    }
    out.push_str("</tr>\n");
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
