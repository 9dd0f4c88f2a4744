//! Groups of bars to the right, one group a race and one bar a racer.

use super::svg::{Anchor, Drawing, WIDTH, colour, text_width};

const BAR_HEIGHT: f64 = 16.0;
const BAR_GAP: f64 = 3.0;
const GROUP_GAP: f64 = 18.0;
const TOP: f64 = 74.0;
const BOTTOM_MARGIN: f64 = 40.0;
/// Room for the text behind the longest bar.
const LABEL_ROOM: f64 = 150.0;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The number of its series in [`BarChart::series`].
    pub series: usize,
    /// How long it is.
    pub value: f64,
    /// What is written behind it.
    pub label: String,
}

/// Bars that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// The bars, from top to bottom.
    pub bars: Vec<Bar>,
    /// A value that is drawn as a stroke through the group.
    pub mark: Option<f64>,
}

/// Groups of bars.
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// What the length of a bar means.
    pub note: String,
    /// The names of the series, in the order of their colours.
    pub series: Vec<String>,
    /// The groups, from top to bottom.
    pub groups: Vec<Group>,
}

impl BarChart {
    /// Draws the chart as a whole SVG document.
    pub fn render(&self) -> String {
        let height = TOP + self.groups.iter().map(Group::height).sum::<f64>() + BOTTOM_MARGIN;
        let mut drawing = Drawing::begin(&self.title, height);
        let names: Vec<_> = self.series.iter().map(String::as_str).collect();
        let left = self.groups.iter().map(|g| text_width(&g.name)).fold(80.0, f64::max) + 24.0;
        drawing.legend((left, 50.0), &names);
        let longest = self.groups.iter().map(Group::longest).fold(f64::MIN_POSITIVE, f64::max);
        let unit = (WIDTH - LABEL_ROOM - left) / longest;
        let mut y = TOP;
        for group in &self.groups {
            group.draw(&mut drawing, (left, y), unit);
            y += group.height();
        }
        drawing.line((left, TOP - 8.0), (left, y - GROUP_GAP + 4.0), "#333");
        drawing.text((left, y + 12.0), Anchor::Start, &self.note);
        drawing.finish()
    }
}

impl Group {
    #[expect(clippy::cast_precision_loss, reason = "a group has a few bars")]
    fn height(&self) -> f64 {
        self.bars.len() as f64 * (BAR_HEIGHT + BAR_GAP) + GROUP_GAP
    }

    fn longest(&self) -> f64 {
        self.bars.iter().map(|bar| bar.value).chain(self.mark).fold(0.0, f64::max)
    }

    fn draw(&self, drawing: &mut Drawing, (left, top): (f64, f64), unit: f64) {
        let bars_height = self.height() - GROUP_GAP;
        let middle = top + bars_height / 2.0 + 2.0;
        drawing.text((left - 10.0, middle), Anchor::End, &self.name);
        let mut y = top;
        for bar in &self.bars {
            let length = bar.value * unit;
            drawing.block((left, y), (length, BAR_HEIGHT), colour(bar.series));
            drawing.text((left + length + 6.0, y + 12.5), Anchor::Start, &bar.label);
            y += BAR_HEIGHT + BAR_GAP;
        }
        if let Some(mark) = self.mark {
            let x = left + mark * unit;
            drawing.line((x, top - 4.0), (x, top + bars_height + 2.0), "#d00000");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_say() {
        let bar = |series, value| Bar { series, value, label: format!("{value} s") };
        let group = Group {
            name: "backup".to_owned(),
            bars: vec![bar(0, 1.0), bar(1, 4.0)],
            mark: Some(2.0),
        };
        let chart = BarChart {
            title: "t".to_owned(),
            note: "shorter is better".to_owned(),
            series: vec!["lifeboat".to_owned(), "restic".to_owned()],
            groups: vec![group],
        };
        let svg = chart.render();
        let widths: Vec<f64> = svg
            .split("width=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .filter(|width| *width > 12.0)
            .collect();
        assert_eq!(widths.len(), 2, "{svg}");
        assert!((widths[1] / widths[0] - 4.0).abs() < 0.01, "{widths:?}");
        assert!(svg.contains("#d00000") && svg.contains("shorter is better"));
    }
}
