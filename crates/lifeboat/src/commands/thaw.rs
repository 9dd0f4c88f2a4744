//! What whatever recovers does about packs in cold storage: says what waking them takes and costs, asks, and says how
//! to come back.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{ByteSize, Exit, counted};
use lifeboat_ops::OpsError;
use lifeboat_ops::thaw::{Consent, ThawError, ThawForecast, ThawOptions, ThawPrice, Waiting};
use lifeboat_postgres::server_command::shell_word;
use serde::Serialize;

use crate::failure::{CommandError, Failure};
use crate::prompt::Terminal;
use crate::render::{Answer, Page, time};
use crate::session::Session;
use crate::surroundings;

/// What is done about packs in cold storage.
#[derive(Debug, Clone, Copy, Args)]
pub struct ThawArguments {
    /// Ask the store for what lies in cold storage and is needed, which costs; without it, how much is said
    #[arg(long)]
    thaw: bool,
    /// Wait until all of it can be read, and go on; without it, end with 3 and say how to come back
    #[arg(long)]
    wait: bool,
}

impl ThawArguments {
    /// Tells whether anything was said about it.
    pub const fn are_given(self) -> bool {
        self.thaw || self.wait
    }

    fn options(self) -> ThawOptions {
        ThawOptions {
            consent: if self.thaw { Consent::Given } else { Consent::Absent },
            waiting: if self.wait { Waiting::Here } else { Waiting::Elsewhere },
        }
    }

    /// Does something that may need what lies cold; whoever sits at the terminal is asked first.
    pub fn attempt<T>(
        self,
        session: &Session,
        mut work: impl FnMut(ThawOptions) -> Result<T, OpsError>,
    ) -> Result<Attempt<T>, Failure> {
        let options = self.options();
        let done = match work(options) {
            Err(OpsError::Thaw(ThawError::Unasked(forecast))) => {
                confirm(&forecast, session)?;
                work(ThawOptions { consent: Consent::Given, ..options })
            }
            done => done,
        };
        match done {
            Err(OpsError::Thaw(ThawError::Thawing(forecast))) => Ok(Attempt::Waits(*forecast)),
            done => Ok(Attempt::Done(done?)),
        }
    }
}

/// How far something came that may need what lies cold.
pub enum Attempt<T> {
    /// It was done.
    Done(T),
    /// It has to wait for this.
    Waits(ThawForecast),
}

fn confirm(forecast: &ThawForecast, session: &Session) -> Result<(), Failure> {
    let text = said(forecast);
    let terminal = Terminal::open(&session.cancel).ok_or_else(|| CommandError::Unconfirmed {
        question: format!("that the store is asked for what lies cold ({text})"),
        hint: "add `--thaw`, and `--wait` to go on once it can be read".to_owned(),
    })?;
    let typed = terminal.ask(&format!("{text}\nType `thaw` to ask the store for it: "))?;
    if typed.trim() == "thaw" {
        Ok(())
    } else {
        Err(CommandError::Declined { expected: "thaw".to_owned() }.into())
    }
}

/// Says in one line how much lies cold, how long waking it takes, and what it costs.
pub fn said(forecast: &ThawForecast) -> String {
    let ThawForecast { tier, needed, thawing, cold, .. } = forecast;
    let mut text = format!(
        "{} of {} in cold storage on {tier}: {}",
        cold.count + thawing.count,
        counted(needed.count, "pack"),
        ByteSize(cold.bytes + thawing.bytes)
    );
    if thawing.count > 0 {
        _ = write!(text, ", of which {} were asked for already", thawing.count);
    }
    _ = write!(text, "; they can be read within {}", time::duration(forecast.within()));
    match forecast.price {
        Some(ThawPrice { thaw, read }) => {
            _ = write!(text, ", asking costs {thaw:.2}, reading {read:.2}");
        }
        None => text.push_str("; what that costs the plan does not say"),
    }
    text
}

/// Writes what lies cold, and whether waiting for it alone breaks the plan's objective.
pub fn write_forecast(forecast: Option<&ThawForecast>, page: &mut Page) -> fmt::Result {
    let Some(forecast) = forecast else { return Ok(()) };
    writeln!(page, "{}", said(forecast))?;
    if forecast.breaks_objective() {
        let word = page.paint.warning("warning");
        let rto = time::duration(std::time::Duration::from_secs(forecast.rto_s.unwrap_or(0)));
        writeln!(page, "{word}: the plan wants {} back within {rto}", forecast.asset)?;
    }
    Ok(())
}

/// The words of the command to come back with.
#[derive(Debug)]
pub struct Words(Vec<String>);

impl Words {
    /// Begins with this program and its plan.
    pub fn new(session: &Session) -> Result<Self, Failure> {
        let mut words = Self::without_plan();
        if let Ok(plan) = surroundings::find_plan(&session.global) {
            words.option("--plan", Some(surroundings::absolute(&plan)?.display()));
        }
        Ok(words)
    }

    /// Begins with this program alone.
    pub fn without_plan() -> Self {
        Self(vec!["lifeboat".to_owned()])
    }

    /// Writes them as a shell takes them.
    pub fn line(&self) -> String {
        self.0.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
    }

    /// Adds words as they are.
    pub fn plain<T: Into<String>>(&mut self, words: impl IntoIterator<Item = T>) {
        self.0.extend(words.into_iter().map(Into::into));
    }

    /// Adds an option with each of its values.
    pub fn option(&mut self, name: &str, values: impl IntoIterator<Item = impl fmt::Display>) {
        for value in values {
            self.plain([name.to_owned(), value.to_string()]);
        }
    }

    /// Adds the flags that were given.
    pub fn flags<const N: usize>(&mut self, flags: [(&str, bool); N]) {
        self.plain(flags.into_iter().filter(|(_, given)| *given).map(|(name, _)| name));
    }
}

/// A recovery that has to be come back for.
#[derive(Debug, Serialize)]
pub struct ComeBack {
    #[serde(flatten)]
    forecast: ThawForecast,
    /// The command that goes on.
    command: String,
}

impl Answer for ComeBack {
    const SCHEMA: &'static str = "lifeboat.restore.thaw/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "nothing was restored yet: {}", said(&self.forecast))?;
        writeln!(page, "{}: come back with `{}`", page.paint.good("hint"), self.command)
    }
}

impl ComeBack {
    /// Says what is waited for, and ends with 3.
    pub fn end(forecast: ThawForecast, words: &Words, session: &Session) -> Result<Exit, Failure> {
        session.end(&Self { forecast, command: words.line() }, Exit::Incomplete)
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_repository::prune::Amount;

    use super::*;
    use crate::render::{Paint, text};

    #[test]
    fn hours_and_money_are_said_in_one_line() {
        let amount = |count, mib: u64| Amount { count, bytes: mib << 20 };
        let mut forecast = ThawForecast {
            asset: "media".parse().unwrap(),
            tier: "vault".parse().unwrap(),
            at: "20261123_020000".to_owned(),
            needed: amount(9, 600),
            thawing: amount(2, 100),
            cold: amount(4, 200),
            within_s: 5 * 3600,
            rto_s: Some(4 * 3600),
            price: Some(ThawPrice { thaw: 1.0, read: 2.5 }),
        };
        assert_eq!(
            said(&forecast),
            "6 of 9 packs in cold storage on vault: 300.0 MiB, of which 2 were asked for already; \
             they can be read within 5 h, asking costs 1.00, reading 2.50"
        );
        let mut page = Page::new(Paint::Plain);
        write_forecast(Some(&forecast), &mut page).unwrap();
        let written = page.into_text();
        assert!(written.ends_with("warning: the plan wants media back within 4 h\n"), "{written}");
        forecast.price = None;
        let words = ComeBack { forecast, command: "lifeboat restore media".to_owned() };
        let words = text(&words, Paint::Plain);
        assert!(words.contains("the plan does not say"), "{words}");
        assert!(words.ends_with("come back with `lifeboat restore media`\n"), "{words}");
    }
}
