//! The few shapes that charts are made of.

use std::fmt::Write as _;

/// How wide a chart is, in user units; a page scales it.
pub const WIDTH: f64 = 760.0;

/// The height of a letter.
const FONT_SIZE: f64 = 13.0;

/// Colours that stay apart for eyes that see few (after Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#e69f00", "#999999", "#009e73", "#cc79a7", "#d55e00"];

/// Returns the colour of the series with this number.
pub const fn colour(series: usize) -> &'static str {
    COLOURS[series % COLOURS.len()]
}

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

impl Anchor {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A drawing that grows shape by shape.
#[derive(Debug)]
pub struct Drawing {
    body: String,
    height: f64,
}

impl Drawing {
    /// Begins a drawing with its title on top.
    pub fn begin(title: &str, height: f64) -> Self {
        let mut drawing = Self { body: String::new(), height };
        let title = escaped(title);
        drawing.shape(&format!(
            r##"<text x="{:.1}" y="24" text-anchor="middle" font-size="16" fill="#111">{title}</text>"##,
            WIDTH / 2.0
        ));
        drawing
    }

    /// Writes a text.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let (anchor, text) = (anchor.name(), escaped(text));
        self.shape(&format!(
            r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="#333">{text}</text>"##
        ));
    }

    /// Writes a text that runs upwards, for the label of a vertical axis.
    pub fn text_upwards(&mut self, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.shape(&format!(
            r##"<text transform="translate({x:.1} {y:.1}) rotate(-90)" text-anchor="middle" fill="#333">{text}</text>"##
        ));
    }

    /// Draws a straight line.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
        self.shape(&format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}"/>"#
        ));
    }

    /// Draws a line through points, with a dot at each.
    pub fn path(&mut self, points: &[(f64, f64)], stroke: &str) {
        let list: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let list = list.join(" ");
        self.shape(&format!(
            r#"<polyline points="{list}" fill="none" stroke="{stroke}" stroke-width="2"/>"#
        ));
        for (x, y) in points {
            self.shape(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{stroke}"/>"#));
        }
    }

    /// Draws a filled box.
    pub fn block(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        self.shape(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        ));
    }

    /// Draws a row that names the series by their colours.
    pub fn legend(&mut self, from: (f64, f64), names: &[&str]) {
        let (mut x, y) = from;
        for (number, name) in names.iter().enumerate() {
            self.block((x, y - 10.0), (12.0, 12.0), colour(number));
            self.text((x + 18.0, y), Anchor::Start, name);
            x += 18.0 + text_width(name) + 22.0;
        }
    }

    /// Ends the drawing.
    pub fn finish(self) -> String {
        let (height, body) = (self.height, self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"{FONT_SIZE:.0}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
        )
    }

    fn shape(&mut self, shape: &str) {
        writeln!(self.body, "{shape}").expect("a string takes whatever is written");
    }
}

/// Returns about how wide a text is: letters are a little more than half as wide as high.
#[expect(clippy::cast_precision_loss, reason = "a label is short")]
pub fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * FONT_SIZE * 0.56
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_break_out_of_its_element() {
        let mut drawing = Drawing::begin("a < b", 100.0);
        drawing.text((0.0, 0.0), Anchor::Start, r#"<script>"&"#);
        let svg = drawing.finish();
        assert!(svg.contains(">a &lt; b</text>"));
        assert!(svg.contains(">&lt;script&gt;&quot;&amp;</text>"));
    }

    #[test]
    fn series_have_colours_without_end() {
        assert_eq!(colour(0), colour(COLOURS.len()));
        assert_ne!(colour(0), colour(1));
    }
}
