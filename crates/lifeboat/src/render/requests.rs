//! How often a tier was asked, by the kind of request, and what that costs: the same words in every report.

use std::fmt::{self, Write as _};

use lifeboat_model::counted;
use lifeboat_ops::retention::price::Requests;
use lifeboat_ops::traffic::TierTraffic;
use lifeboat_tiers::counting::Traffic;

use super::Page;

/// Writes how often a tier is asked by what for.
pub fn write_requests(asked: &Requests, page: &mut Page) -> fmt::Result {
    let Requests { reads, writes, lists, deletes } = *asked;
    let kinds = [(reads, "read"), (writes, "write"), (lists, "list"), (deletes, "delete")];
    let words = kinds.map(|(count, noun)| counted(count, noun));
    write!(page, "requests: {}", words.join(", "))
}

/// Writes what a job asked a tier for, in one line.
pub fn write_traffic(on: &TierTraffic, page: &mut Page) -> fmt::Result {
    let Traffic { puts, gets, heads, lists, deletes, protects, thaws, .. } = on.traffic;
    write!(page, "{}: ", on.tier)?;
    write_requests(
        &Requests { reads: gets + heads, writes: puts + protects, lists, deletes },
        page,
    )?;
    if thaws > 0 {
        write!(page, ", {}", counted(thaws, "thaw"))?;
    }
    write_costs(on, page)?;
    writeln!(page)
}

/// Writes what a job asked each tier for, and how much of it was tried again.
pub fn write_all_traffic(traffic: &[TierTraffic], page: &mut Page) -> fmt::Result {
    for on in traffic {
        write_traffic(on, page)?;
    }
    for on in traffic.iter().filter(|on| on.traffic.retries > 0) {
        let (word, count) = (page.paint.strong("tried again"), on.traffic.retries);
        writeln!(page, "{word}: {count} of the requests to {}", on.tier)?;
    }
    Ok(())
}

/// Writes what that costs, as far as the plan has prices.
fn write_costs(on: &TierTraffic, page: &mut Page) -> fmt::Result {
    let once = [on.request_cost, on.read_cost].into_iter().flatten().reduce(|sum, cost| sum + cost);
    match (once, on.month_cost) {
        (Some(once), Some(month)) => {
            write!(page, "; costs {once:.4} once and {month:.4} a month for what was stored")
        }
        (Some(once), None) => write!(page, "; costs {once:.4} once"),
        (None, Some(month)) => write!(page, "; costs {month:.4} a month for what was stored"),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Paint;

    fn line(costs: [Option<f64>; 3]) -> String {
        let [request_cost, read_cost, month_cost] = costs;
        let traffic = Traffic { puts: 1, gets: 2, heads: 1, lists: 1, ..Traffic::default() };
        let tier = "primary".parse().unwrap();
        let on = TierTraffic { tier, traffic, request_cost, read_cost, month_cost };
        let mut page = Page::new(Paint::Plain);
        write_traffic(&on, &mut page).unwrap();
        page.into_text()
    }

    #[test]
    fn requests_and_their_price_are_said_in_one_line() {
        let asked = "primary: requests: 3 reads, 1 write, 1 list, 0 deletes";
        assert_eq!(line([None; 3]), format!("{asked}\n"));
        let told = line([Some(0.5), Some(0.25), Some(2.0)]);
        assert_eq!(
            told,
            format!("{asked}; costs 0.7500 once and 2.0000 a month for what was stored\n")
        );
        assert_eq!(
            line([None, None, Some(2.0)]),
            format!("{asked}; costs 2.0000 a month for what was stored\n")
        );
        assert_eq!(line([Some(0.5), None, None]), format!("{asked}; costs 0.5000 once\n"));
    }
}
