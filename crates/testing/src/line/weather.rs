//! What befalls connections and requests on a line: rules in order, of which the first that strikes counts.

use std::fmt::Write as _;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
}

/// A place in a message, or in all that a connection carries in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before this byte, counted from 0 with the head.
    Byte(u64),
    /// Before this byte of the body; never reached in what is no message of HTTP.
    Body(u64),
    /// Half-way through the body.
    Half,
}

/// What the line answers in the server's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Reply {
    /// Answers with a status and nothing else.
    pub const fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// Asks to be left alone for so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header("Retry-After", seconds.to_string())
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Answers with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// Writes it as HTTP answers this method: `HEAD` gets no body.
    pub(super) fn to_text(&self, method: &str) -> String {
        let mut text = format!("HTTP/1.1 {} From the line\r\n", self.status);
        for (name, value) in &self.headers {
            write!(text, "{name}: {value}\r\n").expect("a string takes whatever is written");
        }
        let body = if method == "HEAD" { "" } else { self.body.as_str() };
        write!(text, "Content-Length: {}\r\n\r\n{body}", body.len())
            .expect("a string takes whatever is written");
        text
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The request does not reach the server; of a connection: none does.
    Answer(Reply),
    /// What is sent is taken, and nothing ever comes back.
    Silence,
    /// What stands before the place passes, then the connection is closed on both sides.
    Cut(Way, At),
    /// One bit of the byte at the place arrives as its opposite.
    Alter(Way, At),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trigger {
    Always,
    First(u64),
    Nth(u64),
    Chance(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Connections,
    Requests { method: Option<&'static str> },
}

/// A trouble, and what it strikes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    target: Target,
    about: Vec<String>,
    trigger: Trigger,
    trouble: Trouble,
    seen: u64,
}

impl Rule {
    const fn new(target: Target, trouble: Trouble) -> Self {
        Self { target, about: Vec::new(), trigger: Trigger::Always, trouble, seen: 0 }
    }

    /// Strikes every request.
    pub const fn requests(trouble: Trouble) -> Self {
        Self::new(Target::Requests { method: None }, trouble)
    }

    /// Strikes every request of this method.
    pub const fn method(method: &'static str, trouble: Trouble) -> Self {
        Self::new(Target::Requests { method: Some(method) }, trouble)
    }

    /// Strikes every connection.
    pub const fn connections(trouble: Trouble) -> Self {
        Self::new(Target::Connections, trouble)
    }

    /// Looks only at requests with this in path or query; of several all have to be there.
    #[must_use]
    pub fn about(mut self, text: impl Into<String>) -> Self {
        self.about.push(text.into());
        self
    }

    /// Strikes only the first `count` of what it looks at.
    #[must_use]
    pub const fn first(mut self, count: u64) -> Self {
        self.trigger = Trigger::First(count);
        self
    }

    /// Strikes only the `nth` of what it looks at, counted from 1.
    #[must_use]
    pub const fn nth(mut self, nth: u64) -> Self {
        self.trigger = Trigger::Nth(nth);
        self
    }

    /// Strikes with this probability, drawn from the weather's seed in the order of arrival.
    #[must_use]
    pub const fn chance(mut self, probability: f64) -> Self {
        self.trigger = Trigger::Chance(probability);
        self
    }

    fn looks_at(&self, subject: Subject<'_>) -> bool {
        match (self.target, subject) {
            (Target::Connections, Subject::Connection) => true,
            (Target::Requests { method }, Subject::Request { method: asked, target }) => {
                method.is_none_or(|method| method == asked)
                    && self.about.iter().all(|text| target.contains(text))
            }
            _ => false,
        }
    }

    fn strikes(&mut self, subject: Subject<'_>, rng: &mut StdRng) -> bool {
        if !self.looks_at(subject) {
            return false;
        }
        self.seen += 1;
        match self.trigger {
            Trigger::Always => true,
            Trigger::First(count) => self.seen <= count,
            Trigger::Nth(nth) => self.seen == nth,
            Trigger::Chance(probability) => rng.random_bool(probability),
        }
    }
}

/// What a rule is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    Connection,
    Request { method: &'a str, target: &'a str },
}

/// How a line is: as fast as this machine and without trouble, unless it is told otherwise.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    pub(super) round_trip: Duration,
    rules: Vec<Rule>,
    pub(super) seed: u64,
}

impl Weather {
    /// Nothing is in the way.
    pub fn fair() -> Self {
        Self::default()
    }

    /// Every byte arrives late by half of this.
    #[must_use]
    pub const fn round_trip(mut self, time: Duration) -> Self {
        self.round_trip = time;
        self
    }

    /// Adds a rule; of several that strike the first added wins.
    #[must_use]
    pub fn with(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Draws what has a chance from this seed.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Returns what befalls this one.
    pub(super) fn strike(&mut self, subject: Subject<'_>, rng: &mut StdRng) -> Option<Trouble> {
        // Every rule counts what it looks at, also what another one strikes.
        let mut struck = None;
        for rule in &mut self.rules {
            if rule.strikes(subject, rng) && struck.is_none() {
                struck = Some(rule.trouble.clone());
            }
        }
        struck
    }
}
