//! Curves over two axes, each linear or logarithmic.

use super::svg::{Anchor, Drawing, WIDTH, colour};

const HEIGHT: f64 = 420.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = HEIGHT - 58.0;

/// About how many lines a linear axis has.
const TICKS: f64 = 6.0;

/// How an axis spaces its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps; begins at zero.
    Linear,
    /// Equal factors; what is not above zero is left out.
    Logarithmic,
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What its numbers count, with the unit.
    pub label: String,
    /// How they are spaced.
    pub scale: Scale,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it shows.
    pub name: String,
    /// Its points, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

/// Curves over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis upwards.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
}

impl LineChart {
    /// Draws the chart as a whole SVG document.
    pub fn render(&self) -> String {
        let mut drawing = Drawing::begin(&self.title, HEIGHT);
        let drawable = |point: &(f64, f64)| self.x.holds(point.0) && self.y.holds(point.1);
        let all = || self.series.iter().flat_map(|series| &series.points).filter(|p| drawable(p));
        let x = Ruler::over(self.x.scale, all().map(|point| point.0), (LEFT, RIGHT));
        let y = Ruler::over(self.y.scale, all().map(|point| point.1), (BOTTOM, TOP));
        for (value, text) in y.ticks() {
            let at = y.place(value);
            drawing.line((LEFT, at), (RIGHT, at), "#ddd");
            drawing.text((LEFT - 8.0, at + 4.0), Anchor::End, &text);
        }
        for (value, text) in x.ticks() {
            let at = x.place(value);
            drawing.line((at, BOTTOM), (at, BOTTOM + 5.0), "#333");
            drawing.text((at, BOTTOM + 20.0), Anchor::Middle, &text);
        }
        drawing.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "#333");
        drawing.line((LEFT, BOTTOM), (LEFT, TOP), "#333");
        drawing.text((f64::midpoint(LEFT, RIGHT), BOTTOM + 44.0), Anchor::Middle, &self.x.label);
        drawing.text_upwards((20.0, f64::midpoint(TOP, BOTTOM)), &self.y.label);
        for (number, series) in self.series.iter().enumerate() {
            let points = series.points.iter().filter(|point| drawable(point));
            let points: Vec<_> = points.map(|(a, b)| (x.place(*a), y.place(*b))).collect();
            drawing.path(&points, colour(number));
        }
        let names: Vec<_> = self.series.iter().map(|series| series.name.as_str()).collect();
        drawing.legend((LEFT, 50.0), &names);
        drawing.finish()
    }
}

impl Axis {
    fn holds(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }
}

/// Turns values into places on the drawing.
#[derive(Debug)]
struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Ruler {
    fn over(scale: Scale, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (low, high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = match scale {
            _ if low > high => (1.0, 10.0),
            Scale::Linear => {
                let step = step(high.max(f64::MIN_POSITIVE));
                (low.min(0.0), (high / step).ceil().max(1.0) * step)
            }
            Scale::Logarithmic => {
                let (low, high) = (low.log10().floor(), high.log10().ceil());
                (10_f64.powf(low), 10_f64.powf(high.max(low + 1.0)))
            }
        };
        Self { scale, low, high, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks = Vec::new();
        let mut value = self.low;
        // A little beyond the end, since adding up steps is not exact.
        while value <= self.high * (1.0 + 1e-9) {
            ticks.push((value, short(value)));
            value = match self.scale {
                Scale::Linear => value + step(self.high),
                Scale::Logarithmic => value * 10.0,
            };
        }
        ticks
    }
}

/// Returns a round step that parts `high` into about [`TICKS`].
fn step(high: f64) -> f64 {
    let raw = high / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| raw <= factor * power * 1.000_001);
    round.unwrap_or(10.0) * power
}

/// Writes a number with as few letters as it can be told by: `0.5`, `20`, `3k`, `10M`.
pub(super) fn short(value: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (value, unit) = UNITS
        .into_iter()
        .find(|(size, _)| value.abs() >= *size * 0.999_999)
        .map_or((value, ""), |(size, unit)| (value / size, unit));
    let digits = format!("{value:.4}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { label: "n".to_owned(), scale }
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.25, "0.25"), (20.0, "20"), (3e3, "3k"), (1e7, "10M")];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_linear_ruler_begins_at_zero_and_ends_on_a_tick() {
        let ruler = Ruler::over(Scale::Linear, [3.0, 11.0].into_iter(), (0.0, 100.0));
        let ticks: Vec<_> = ruler.ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(ticks, ["0", "2", "4", "6", "8", "10", "12"]);
        assert!(ruler.place(0.0).abs() < 1e-9);
        assert!((ruler.place(12.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_logarithmic_ruler_spaces_factors_equally() {
        let ruler = Ruler::over(Scale::Logarithmic, [1e5, 1e7].into_iter(), (0.0, 100.0));
        assert!((ruler.place(1e6) - 50.0).abs() < 1e-9);
        assert_eq!(ruler.ticks().len(), 3);
    }

    #[test]
    fn what_a_logarithm_does_not_know_is_left_out() {
        let series = Series { name: "s".to_owned(), points: vec![(0.0, 1.0), (10.0, 2.0)] };
        let (x, y) = (axis(Scale::Logarithmic), axis(Scale::Linear));
        let chart = LineChart { title: "t".to_owned(), x, y, series: vec![series] };
        let svg = chart.render();
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_chart_of_nothing_is_still_a_chart() {
        let (x, y) = (axis(Scale::Logarithmic), axis(Scale::Linear));
        let chart = LineChart { title: "t".to_owned(), x, y, series: Vec::new() };
        assert!(!chart.render().contains("NaN"));
    }
}
