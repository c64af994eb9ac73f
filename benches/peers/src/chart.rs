//! The picture of the table: a bar for each number of keys, on a logarithmic scale.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::table::{machine, rounded, rows};
use crate::turns::Taken;

/// The least and the longest time on the scale, in nanoseconds.
const SCALE: (f64, f64) = (10.0, 1e8);
const TICKS: [(f64, &str); 4] = [(100.0, "100 ns"), (1e4, "10 µs"), (1e6, "1 ms"), (1e8, "100 ms")];
const COLOURS: [&str; 2] = ["#8fb0d0", "#2b5c8a"];
/// Places and sizes, in pixels.
const NAMES: f64 = 330.0;
const BARS: f64 = 440.0;
const WIDTH: f64 = 860.0;
const TOP: f64 = 70.0;
const ROW: f64 = 44.0;
const BAR: f64 = 14.0;

/// Writes the picture to a file.
pub fn write(path: &Path, keys: [usize; 2], columns: &[Vec<Taken>; 2]) -> io::Result<()> {
    let rows = rows();
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 50.0;
    let mut svg = String::new();
    let mut add = |line: String| _ = writeln!(svg, "{line}");
    add(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">"
    ));
    add("<title>Time of one verification, by who verifies</title>".to_owned());
    add(format!("<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>"));
    let head = "Time of one verification, on a logarithmic scale";
    add(format!("<text x=\"10\" y=\"24\" font-size=\"16\">{head}</text>"));
    for (at, (keys, colour)) in keys.iter().zip(COLOURS).enumerate() {
        let x = NAMES + 170.0 * at as f64;
        add(format!("<rect x=\"{x}\" y=\"38\" width=\"14\" height=\"14\" fill=\"{colour}\"/>"));
        add(format!("<text x=\"{}\" y=\"50\">{} keys</text>", x + 20.0, grouped(*keys)));
    }
    for (nanos, name) in TICKS {
        let x = NAMES + place(nanos);
        add(format!(
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>"
        ));
        let y = bottom + 18.0;
        add(format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>"));
    }
    for (which, [who, kept, _]) in rows.iter().enumerate() {
        let y = TOP + ROW * which as f64;
        add(format!("<text x=\"10\" y=\"{}\">{}</text>", y + 18.0, escaped(who)));
        let small = "font-size=\"11\" fill=\"#666\"";
        add(format!("<text x=\"10\" y=\"{}\" {small}>{}</text>", y + 33.0, escaped(kept)));
        for (at, (column, colour)) in columns.iter().zip(COLOURS).enumerate() {
            let Taken { nanos, of_first } = &column[which];
            let (y, length) = (y + 5.0 + (BAR + 3.0) * at as f64, place(*nanos));
            add(format!(
                "<rect x=\"{NAMES}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
            ));
            let label = format!("{} ns, {} times", rounded(*nanos), rounded(*of_first));
            let x = NAMES + length + 5.0;
            add(format!("<text x=\"{x:.1}\" y=\"{}\" font-size=\"11\">{label}</text>", y + 11.0));
        }
    }
    add(format!(
        "<text x=\"10\" y=\"{}\" font-size=\"11\">{}</text>",
        height - 10.0,
        escaped(&machine())
    ));
    add("</svg>".to_owned());
    fs::write(path, svg)
}

/// Returns how far from the scale's beginning a time stands.
fn place(nanos: f64) -> f64 {
    let (first, last) = SCALE;
    BARS * (nanos / first).log10().max(0.0) / (last / first).log10()
}

/// Returns a number with a comma before each three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let mut groups = vec![head.to_owned()];
    groups
        .extend(rest.as_bytes().chunks(3).map(|chunk| String::from_utf8_lossy(chunk).into_owned()));
    groups.retain(|group| !group.is_empty());
    groups.join(",")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
