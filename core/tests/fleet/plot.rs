//! The curve of a fleet, as a picture.

use std::{fmt::Write, fs, ops::Range, path::Path};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;

pub(crate) fn is_wanted() -> bool {
    std::env::var_os("KEYSWAP_PLOT").is_some()
}

/// Draws the fetch starts in each second of a span, with another span shaded.
pub(crate) fn draw(name: &str, starts: &[u32], span: Range<u64>, shaded: Range<u64>) {
    let at = |second: u64| {
        let at = usize::try_from(second).ok();
        f64::from(at.and_then(|at| starts.get(at)).copied().unwrap_or(0))
    };
    let highest = span.clone().map(at).fold(1.0, f64::max);
    let x = |second: u64| (second - span.start) as f64 / (span.end - span.start) as f64 * WIDTH;
    let mut line = String::new();
    for second in span.clone() {
        let y = HEIGHT - at(second) / highest * HEIGHT;
        let _ = write!(line, "{:.1},{y:.1} ", x(second));
    }
    let (left, width) = (x(shaded.start), x(shaded.end) - x(shaded.start));
    let picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-8 -28 {} {}\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <rect x=\"{left:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"#eee\"/>\n\
         <polyline points=\"{line}\" fill=\"none\" stroke=\"#06c\"/>\n\
         <text y=\"-10\">{name}: fetch starts a second, at most {highest}, over {} s</text>\n</svg>\n",
        WIDTH + 16.0,
        HEIGHT + 36.0,
        span.end - span.start
    );
    let file = format!("fleet-{}.svg", name.replace(", ", "-").replace(' ', "-"));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    fs::write(&path, picture).expect("a place to draw");
    eprintln!("{name}: {}", path.display());
}
