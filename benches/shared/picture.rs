//! Pictures of measured lines, as SVG.

use std::fmt::Write;

const INK: &str = "#1f2933";
const COLOURS: [&str; 3] = ["#1769aa", "#c2410c", "#4d7c0f"];
const WIDTH: f64 = 300.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 264.0;

/// From its first tick to its last.
pub struct Axis<'a> {
    /// Values, and what they are called.
    pub ticks: &'a [(f64, &'a str)],
    pub logarithmic: bool,
}

impl Axis<'_> {
    /// Where a value lies, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let on = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (least, most) = (self.ticks[0].0, self.ticks[self.ticks.len() - 1].0);
        (on(value.max(least)) - on(least)) / (on(most) - on(least))
    }
}

/// A line of points.
pub struct Line<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

pub struct Plot<'a> {
    pub title: &'a str,
    pub x: Axis<'a>,
    pub y: Axis<'a>,
    /// Heights that are meant to be kept to, and what they are called.
    pub limits: &'a [(f64, &'a str)],
    pub lines: Vec<Line<'a>>,
}

/// Plots beside each other.
pub fn picture(plots: &[Plot<'_>]) -> String {
    let width = 10.0 + 390.0 * plots.len() as f64;
    let plots: String = plots.iter().enumerate().map(|(number, plot)| draw(64.0 + 390.0 * number as f64, plot)).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} 340\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"{INK}\">\
         <rect width=\"{width}\" height=\"340\" fill=\"#ffffff\"/>{plots}</svg>\n"
    )
}

fn draw(left: f64, plot: &Plot<'_>) -> String {
    let Plot { title, x: across, y: up, limits, lines } = plot;
    let x = |value: f64| left + across.place(value) * WIDTH;
    let y = |value: f64| BOTTOM - up.place(value) * (BOTTOM - TOP);
    let right = left + WIDTH;
    let mut body = format!("<text x=\"{left}\" y=\"{}\" font-weight=\"600\">{title}</text>", TOP - 20.0);
    let mut add = |text: String| body.push_str(&text);
    for (value, name) in up.ticks {
        let at = y(*value);
        add(format!("<line x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d5dae0\"/>"));
        add(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"11\">{name}</text>", left - 6.0, at + 4.0));
    }
    for (value, name) in across.ticks {
        let at = x(*value);
        add(format!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\">{name}</text>", BOTTOM + 18.0));
    }
    for (value, name) in *limits {
        let at = y(*value);
        add(format!("<line x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{INK}\" stroke-dasharray=\"4 4\"/>"));
        add(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"11\">{name}</text>", right - 4.0, at + 13.0));
    }
    for (line, colour) in lines.iter().zip(COLOURS) {
        let mut path = String::new();
        for (at, value) in &line.points {
            write!(path, "{:.1},{:.1} ", x(*at), y(*value)).expect("text grows");
        }
        add(format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.trim_end()));
        for (at, value) in &line.points {
            add(format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>", x(*at), y(*value)));
        }
    }
    for (place, (line, colour)) in lines.iter().zip(COLOURS).enumerate() {
        let at = BOTTOM + 40.0 + 18.0 * place as f64;
        add(format!("<circle cx=\"{}\" cy=\"{}\" r=\"4\" fill=\"{colour}\"/>", left + 6.0, at - 4.0));
        add(format!("<text x=\"{}\" y=\"{at}\" font-size=\"12\">{}</text>", left + 16.0, line.name));
    }
    body
}
