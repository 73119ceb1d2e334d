//! The timeline as a picture: requests by key over time, rotations and faults marked.

use std::fmt::Write as _;

use crate::load::BUCKET_MS;

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 118.0;
const BOTTOM: f64 = 92.0;
/// Told apart by people who see colours differently, too.
const COLOURS: &[&str] =
    &["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#ee8866"];

/// Something to mark on the time axis.
pub(crate) struct Mark {
    pub(crate) at_ms: u64,
    pub(crate) label: String,
    /// How long it lasts, if it is a fault.
    pub(crate) fault_ms: Option<u64>,
}

/// The picture, as SVG. `keys` are accepted requests by bucket, oldest key first.
pub(crate) fn svg(
    title: &str,
    total_ms: u64,
    keys: &[(String, Vec<u32>)],
    marks: &[Mark],
) -> String {
    let buckets = total_ms.div_ceil(BUCKET_MS).max(1) as usize;
    let at = |keys: &[(String, Vec<u32>)], bucket: usize| -> u64 {
        keys.iter().map(|(_, counts)| u64::from(counts.get(bucket).copied().unwrap_or(0))).sum()
    };
    let per_second = 1000 / BUCKET_MS;
    let most = (0..buckets).map(|bucket| at(keys, bucket)).max().unwrap_or(0) * per_second;
    let ceiling = round_up(most.max(1));
    let x = |ms: f64| LEFT + ms / total_ms as f64 * (WIDTH - LEFT - RIGHT);
    let y = |rate: f64| HEIGHT - BOTTOM - rate / ceiling as f64 * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"17\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    let floor = HEIGHT - BOTTOM;
    for mark in marks {
        if let Some(lasts) = mark.fault_ms {
            let (from, to) = (x(mark.at_ms as f64), x((mark.at_ms + lasts).min(total_ms) as f64));
            let _ = writeln!(
                out,
                "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f3dcdc\"/>",
                to - from,
                floor - TOP
            );
        }
    }
    // Each key stands on those before it.
    for (index, (_, _)) in keys.iter().enumerate() {
        let mut top = String::new();
        let mut base = Vec::new();
        for bucket in 0..buckets {
            let rate = |keys| (at(keys, bucket) * per_second) as f64;
            for edge in [bucket, bucket + 1] {
                let across = x(((edge as u64 * BUCKET_MS).min(total_ms)) as f64);
                let _ = write!(top, "{across:.1},{:.1} ", y(rate(&keys[..=index])));
                base.push(format!("{across:.1},{:.1} ", y(rate(&keys[..index]))));
            }
        }
        base.reverse();
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(out, "<polygon points=\"{top}{}\" fill=\"{colour}\"/>", base.concat());
    }
    for tick in 0..=4 {
        let rate = ceiling * tick / 4;
        let up = y(rate as f64);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{up:.1}\" y2=\"{up:.1}\" stroke=\"#0002\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{rate}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            up + 4.0
        );
    }
    let seconds = total_ms / 1000;
    for second in (0..=seconds).step_by((seconds as usize / 10).max(1)) {
        let across = x((second * 1000) as f64);
        let _ = writeln!(
            out,
            "<text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>",
            floor + 18.0
        );
    }
    for (index, mark) in marks.iter().enumerate() {
        let across = x(mark.at_ms as f64);
        let up = 52.0 + (index % 4) as f64 * 16.0;
        let anchor = if across > WIDTH - 150.0 { "end" } else { "start" };
        let shift = if anchor == "end" { -4.0 } else { 4.0 };
        let _ = writeln!(
            out,
            "<line x1=\"{across:.1}\" x2=\"{across:.1}\" y1=\"{:.1}\" y2=\"{floor:.1}\" stroke=\"#222\" \
             stroke-dasharray=\"3 3\"/><text x=\"{:.1}\" y=\"{up:.1}\" text-anchor=\"{anchor}\">{}</text>",
            up - 10.0,
            across + shift,
            escape(&mark.label)
        );
    }
    let _ = writeln!(
        out,
        "<text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">accepted requests a second</text>",
        (TOP + floor) / 2.0
    );
    let shown = keys.len().min(16);
    let room = (WIDTH - LEFT - RIGHT) / shown.max(1) as f64;
    for (index, (key, _)) in keys.iter().take(shown).enumerate() {
        let across = LEFT + index as f64 * room.min(90.0);
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            out,
            "<rect x=\"{across:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            HEIGHT - 40.0,
            across + 17.0,
            HEIGHT - 29.5,
            escape(key)
        );
    }
    out + "</svg>\n"
}

/// The next of 1, 2, 4, 5 or 8 times a power of ten.
fn round_up(value: u64) -> u64 {
    let power = 10u64.pow(value.ilog10());
    [1, 2, 4, 5, 8, 10]
        .map(|step| step * power)
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(value)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_anything_is_well_formed() {
        let keys = [("k<1>".to_owned(), vec![3, 4]), ("k2".to_owned(), vec![])];
        let mark = Mark { at_ms: 150, label: "a & b".into(), fault_ms: Some(5_000) };
        let picture = svg("t", 1_000, &keys, &[mark]);
        assert!(picture.contains("k&lt;1&gt;") && picture.contains("a &amp; b"));
        assert!(!picture.contains("NaN") && picture.ends_with("</svg>\n"));
        assert!(svg("nothing", 0, &[], &[]).ends_with("</svg>\n"));
        assert_eq!([1, 3, 41, 990].map(round_up), [1, 4, 50, 1000]);
    }
}
