//! One picture of a whole report.

use crate::chart::{Bar, BarChart, Group};
use crate::race::Raced;
use crate::racer::Racer;

use super::Report;

const SERIES: [Racer; 3] = [Racer::Lifeboat, Racer::Restic, Racer::Cp];

/// Draws how long each racer took for each work, with restic's time as the unit.
pub fn plot(report: &Report) -> String {
    let groups = report.results.works.iter().filter_map(group).collect();
    let chart = BarChart {
        title: format!("Time, in parts of restic's ({} runs, medians)", report.setting.runs),
        note: "shorter is better; the red stroke is what this hardware allows".to_owned(),
        series: SERIES.map(|racer| racer.name().to_owned()).to_vec(),
        groups,
    };
    chart.render()
}

fn group(raced: &Raced) -> Option<Group> {
    let unit = raced.of(Racer::Restic)?.wall().median;
    let bars = SERIES.iter().enumerate().filter_map(|(series, racer)| {
        let wall_s = raced.of(*racer)?.wall().median;
        let label = format!("{wall_s:.2} s ({:.0}%)", wall_s / unit * 100.0);
        Some(Bar { series, value: wall_s / unit, label })
    });
    let mark = raced.ceiling_s.or(raced.walk_s).map(|seconds| seconds / unit);
    Some(Group { name: raced.work.title().to_owned(), bars: bars.collect(), mark })
}

#[cfg(test)]
mod tests {
    use super::super::tests::raced;
    use super::*;

    #[test]
    fn restic_is_the_unit() {
        let group = group(&raced()).unwrap();
        let labels: Vec<_> = group.bars.iter().map(|bar| bar.label.as_str()).collect();
        assert_eq!(labels, ["4.00 s (33%)", "12.00 s (100%)", "1.00 s (8%)"]);
        assert_eq!(group.mark, Some(0.25));
    }
}
