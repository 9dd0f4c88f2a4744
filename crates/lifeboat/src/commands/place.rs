//! `lifeboat place`: where the platform lives, which place this host is, and how the platform leaves one for another.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use clap::{Args, Subcommand};
use lifeboat_model::{Exit, PlaceName, ServiceName, SiteName, TierName};
use lifeboat_ops::Site;
use lifeboat_ops::catalog::body::Whereabouts;
use lifeboat_ops::residence::begun::{BegunHandOver, begun};
use lifeboat_ops::residence::fence::{self, Looked};
use lifeboat_ops::residence::hand_over::{self, HandOverOptions, HandOverReport};
use lifeboat_ops::residence::sought::Sought;
use lifeboat_ops::residence::{self, Known, Move, PlaceError, Residence, What};
use serde::Serialize;

use crate::failure::Failure;
use crate::prompt::confirm_site;
use crate::render::{Answer, Cell, Page, Sort, Table, Tone, time};
use crate::session::Session;
use crate::surroundings;

/// The commands of `lifeboat place`.
#[derive(Debug, Subcommand)]
pub enum Place {
    /// Ask the tiers where the platform lives, since when, and how it came there
    Show,
    /// Say which place of the plan this host is, where its name does not tell
    Is(Is),
    /// Say that the platform lives here, whatever was recorded before
    Claim(Claim),
    /// Stop the platform here, back it up once more, and let it go on at another place
    HandOver(HandOver),
}

/// The arguments of `lifeboat place is`.
#[derive(Debug, Args)]
pub struct Is {
    /// This place of the plan
    #[arg(value_name = "PLACE")]
    place: PlaceName,
}

/// The arguments of `lifeboat place claim`.
#[derive(Debug, Args)]
pub struct Claim {
    /// Say why, for whoever wonders that other places do nothing any more
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// The arguments of `lifeboat place hand-over`.
#[derive(Debug, Args)]
pub struct HandOver {
    /// Say at which place of the plan it goes on
    #[arg(long, value_name = "PLACE")]
    to: Option<PlaceName>,
    /// Confirm beforehand that this site's services are stopped
    #[arg(long, value_name = "SITE")]
    confirm: Option<SiteName>,
    /// Start again what a hand-over stopped that was cut short, and stay here
    #[arg(long, conflicts_with_all = ["to", "confirm"])]
    take_back: bool,
}

#[derive(Serialize)]
struct Shown {
    here: Whereabouts,
    #[serde(flatten)]
    known: Known,
    /// A hand-over that was begun here and is not over.
    hand_over: Option<BegunHandOver>,
    /// Tiers that did not tell.
    unasked: Vec<TierName>,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.place/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "this is {}", self.here)?;
        write_residence(&self.known.residence, &self.here, page)?;
        write_underway(&self.known.underway, page)?;
        self.hand_over.iter().try_for_each(|begun| write_begun(begun, page))?;
        if !self.unasked.is_empty() {
            let names: Vec<_> = self.unasked.iter().map(TierName::as_str).collect();
            let word = page.paint.warning("not asked");
            writeln!(page, "{word}: {}, which may know more", names.join(", "))?;
        }
        if self.known.moves.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["Time", "Place", "What"]);
        for each in &self.known.moves {
            row(each, &mut table);
        }
        writeln!(page)?;
        page.table(&table);
        Ok(())
    }
}

fn row(each: &Move, table: &mut Table) {
    let what = match &each.what {
        What::Taken(taken) => format!("lives there, {}", taken.by),
        What::Left(left) => {
            let to = left.to.as_ref().map(|to| format!(" to `{to}`")).unwrap_or_default();
            format!("handed over{to} by {}", left.login)
        }
    };
    let place = Cell::new(each.whereabouts().to_string(), Tone::Strong);
    table.row([time::instant(each.time).into(), place, what.into()]);
}

/// Says in a line where the platform lives.
pub(super) fn write_residence(
    residence: &Residence,
    here: &Whereabouts,
    page: &mut Page,
) -> fmt::Result {
    match residence {
        Residence::Unsaid => writeln!(page, "nobody said yet where the platform lives"),
        Residence::Lives { whereabouts, since, by } => {
            let is_here = whereabouts.is(here);
            let (tone, word) =
                if is_here { (Tone::Good, "here, at") } else { (Tone::Warning, "at") };
            let word = page.paint.tone(tone, &format!("{word} {whereabouts}"));
            writeln!(page, "the platform lives {word} since {}, {by}", time::instant(*since))
        }
        Residence::Left { whereabouts, still, to, .. } => {
            let to = to.as_ref().map(|to| format!(" to `{to}`")).unwrap_or_default();
            let word = page.paint.warning("stands still");
            let still = time::instant(*still);
            writeln!(page, "the platform {word} since {still}: {whereabouts} handed it over{to}")
        }
        Residence::Disputed { claims } => {
            let word = page.paint.bad("not known");
            let places: Vec<_> = claims.iter().map(|it| it.whereabouts().to_string()).collect();
            let places = places.join(" and ");
            writeln!(page, "where the platform lives is {word}: {places} contradict each other")
        }
    }
}

/// Says which recoveries bring it somewhere.
pub(super) fn write_underway(underway: &[Sought], page: &mut Page) -> fmt::Result {
    let word = page.paint.warning("a recovery goes on");
    underway.iter().try_for_each(|sought| writeln!(page, "{word}: {sought}"))
}

/// Says that a hand-over was begun, what is stopped, and what leads on.
pub(super) fn write_begun(begun: &BegunHandOver, page: &mut Page) -> fmt::Result {
    let BegunHandOver { begun: since, login, to, stopped, process } = begun;
    let names: Vec<_> = stopped.iter().map(ServiceName::as_str).collect();
    let (names, since) = (names.join(", "), time::instant(*since));
    if begun.goes_on() {
        let word = page.paint.warning("is handed over");
        return writeln!(
            page,
            "it {word} since {since} by {login} (process {}); stopped so far: {names}",
            process.number
        );
    }
    let word = page.paint.bad("cut short");
    writeln!(page, "a hand-over that {login} began at {since} was {word}; it stopped {names}")?;
    match to {
        Some(to) => writeln!(page, "    `lifeboat place hand-over --to {to}` does it anew")?,
        None => writeln!(page, "    `lifeboat place hand-over` does it anew")?,
    }
    writeln!(page, "    `lifeboat place hand-over --take-back` starts again what it stopped")
}

#[derive(Serialize)]
struct Said {
    here: Whereabouts,
}

impl Answer for Said {
    const SCHEMA: &'static str = "lifeboat.place.said/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "this is {}", self.here)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Claimed(fence::Claimed);

impl Answer for Claimed {
    const SCHEMA: &'static str = "lifeboat.place.claimed/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let fence::Claimed { here, told, untold } = &self.0;
        writeln!(page, "the platform lives at {here} from now on, and nowhere else")?;
        if !told.is_empty() {
            writeln!(page, "told by {}", listed(told))?;
        }
        let word = page.paint.warning("not told");
        for (tier, why) in untold {
            writeln!(page, "{word} by {tier}: {why}")?;
        }
        if told.is_empty() {
            writeln!(
                page,
                "no other place knows of it yet: `lifeboat serve --once` tells the tiers once they answer; until then it holds here for a day"
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct TakenBack(hand_over::TakenBack);

impl Answer for TakenBack {
    const SCHEMA: &'static str = "lifeboat.place.taken-back/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let hand_over::TakenBack { here, started, .. } = &self.0;
        for service in started {
            writeln!(page, "started: {service}")?;
        }
        writeln!(page, "nothing is handed over: the platform lives on at {here}")
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct HandedOver(HandOverReport);

impl Answer for HandedOver {
    const SCHEMA: &'static str = "lifeboat.place.handed-over/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let HandOverReport { here, to, still, stopped, tiers, told, .. } = &self.0;
        for service in stopped {
            writeln!(page, "stopped: {service}")?;
        }
        let (still, tiers) = (time::instant(*still), listed(tiers));
        writeln!(page, "{here} writes nothing since {still}, and all of it is on {tiers}")?;
        if told.is_empty() {
            let word = page.paint.warning("not told");
            writeln!(
                page,
                "{word}: no tier took the record yet; `lifeboat serve --once` puts it there"
            )?;
        }
        let there = to.as_ref().map_or_else(|| "another place".to_owned(), |to| format!("`{to}`"));
        writeln!(page, "bring it back at {there} with `lifeboat recover SCENARIO`")
    }
}

fn listed(names: &BTreeSet<TierName>) -> String {
    let names: Vec<_> = names.iter().map(TierName::as_str).collect();
    names.join(", ")
}

impl HandOver {
    fn run(self, site: &Site, session: &Session) -> Result<Exit, Failure> {
        if self.take_back {
            return session.done(&TakenBack(hand_over::take_back(site, &session.cancel)?));
        }
        confirm_site(site.name(), self.confirm.as_ref(), "stopped and handed over", session)?;
        let login = surroundings::login().to_string();
        let (to, confirm) = (self.to, site.name().clone());
        let options = HandOverOptions { to, login, confirm };
        let report = hand_over::hand_over(site, &options, &*session.events(), &session.cancel)?;
        let exit = if report.told.is_empty() { Exit::Incomplete } else { Exit::Done };
        session.end(&HandedOver(report), exit)
    }
}

impl Place {
    /// Shows where the platform lives, or says something about it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        match self {
            Self::Show => {
                let here = residence::own(&site)?.ok_or(PlaceError::NoPlaces)?;
                let Looked { known, unasked } = fence::look(&site, &session.cancel)?;
                let hand_over = begun(&site, &here, &known)?;
                session.done(&Shown { here, known, hand_over, unasked })
            }
            Self::Is(is) => {
                residence::is_place(&site, &is.place)?;
                let here = residence::own(&site)?.ok_or(PlaceError::NoPlaces)?;
                session.done(&Said { here })
            }
            Self::Claim(claim) => {
                let said = (surroundings::login().to_string(), claim.reason);
                let claimed = fence::claim(&site, (&said.0, &said.1), &session.cancel)?;
                let exit = if claimed.told.is_empty() { Exit::Incomplete } else { Exit::Done };
                session.end(&Claimed(claimed), exit)
            }
            Self::HandOver(hand_over) => hand_over.run(&site, session),
        }
    }
}
