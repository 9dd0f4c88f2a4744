//! Colour, and only where it is wanted: meaning never hangs on it alone.

use clap::builder::styling::{AnsiColor, Style};
use lifeboat_model::Outcome;

/// What a text wants to say beyond its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// It went well.
    Good,
    /// It needs a look.
    Warning,
    /// It went wrong.
    Bad,
    /// It is said aside.
    Aside,
    /// It stands out, like a heading.
    Strong,
}

/// Whether words are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As they are.
    Plain,
    /// With ANSI colours.
    Coloured,
}

impl Paint {
    /// Returns the choice for whether colour is wanted.
    pub const fn when(coloured: bool) -> Self {
        if coloured { Self::Coloured } else { Self::Plain }
    }

    /// Writes a text in its tone.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let style = match (self, tone) {
            (Self::Plain, _) | (_, Tone::Plain) => return text.to_owned(),
            (_, Tone::Good) => AnsiColor::Green.on_default(),
            (_, Tone::Warning) => AnsiColor::Yellow.on_default(),
            (_, Tone::Bad) => AnsiColor::Red.on_default().bold(),
            (_, Tone::Aside) => Style::new().dimmed(),
            (_, Tone::Strong) => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }

    /// Writes what went well.
    pub fn good(self, text: &str) -> String {
        self.tone(Tone::Good, text)
    }

    /// Writes what needs a look.
    pub fn warning(self, text: &str) -> String {
        self.tone(Tone::Warning, text)
    }

    /// Writes what went wrong.
    pub fn bad(self, text: &str) -> String {
        self.tone(Tone::Bad, text)
    }

    /// Writes what stands out, like a heading.
    pub fn strong(self, text: &str) -> String {
        self.tone(Tone::Strong, text)
    }
}

impl Paint {
    /// Writes an outcome in its colour.
    pub fn outcome(self, outcome: Outcome) -> String {
        self.tone(outcome.into(), &outcome.to_string())
    }
}

impl From<Outcome> for Tone {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Good,
            Outcome::CouldNotVerify => Self::Warning,
            Outcome::Failed => Self::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_plain() {
        assert_eq!(Paint::Plain.bad("failed"), "failed");
        assert_eq!(Paint::when(true).good("passed"), "\u{1b}[32mpassed\u{1b}[0m");
    }
}
