//! `[checks]` and `health`: questions whose answer is yes, no, or could not be had.

use lifeboat_model::AssetName;

use crate::table::{kinds, table};
use crate::value::command::Command;
use crate::value::duration::Span;
use crate::value::expectation::Expectation;
use crate::value::template::Template;

kinds! {
    /// A question about a platform or about what was restored.
    pub enum Probe by key {
        /// Every path that a database names exists among the files, and the other way round.
        FilesIn(FilesInProbe) = "files_in",
        /// A query's first value is as expected.
        Sql(SqlProbe) = "sql",
        /// Files are there.
        Files(FilesProbe) = "files",
        /// An address answers.
        Http(HttpProbe) = "http",
        /// A port takes connections.
        Tcp(TcpProbe) = "tcp",
        /// A name leads to the right addresses.
        Dns(DnsProbe) = "dns",
        /// A mail that the application sends arrives.
        Smtp(SmtpProbe) = "smtp",
        /// A command ends with 0.
        Command(CommandProbe) = "command",
    }
}

table! {
    /// Every path that a database names exists among the files, and the other way round.
    pub struct FilesInProbe {
        /// The files.
        files_in: AssetName,
        /// Gives one path a row.
        sql: String,
        /// The database's asset; the only one if left out.
        asset: Option<AssetName>,
        /// The database to ask.
        database: Option<String>,
        /// The role to ask as.
        role: Option<String>,
    }
}

table! {
    /// A query's first value is as expected.
    pub struct SqlProbe {
        /// The query.
        sql: String,
        /// What its first value must be; if left out, it only has to succeed.
        expect: Option<Expectation>,
        /// The database's asset; the only one if left out.
        asset: Option<AssetName>,
        /// The database to ask.
        database: Option<String>,
        /// The role to ask as.
        role: Option<String>,
    }
}

table! {
    /// Files are there.
    pub struct FilesProbe {
        /// The asset whose files are looked at.
        files: AssetName,
        /// Paths that must exist, below one of the asset's or whole.
        exist: Vec<String> = Vec::new(),
        /// How many files there must be.
        count: Option<Expectation>,
    }
}

table! {
    /// An address answers.
    pub struct HttpProbe {
        /// The address.
        http: Template,
        /// The status of the answer.
        status: HttpStatus = HttpStatus::OK,
        /// What the answer must contain.
        contains: Option<Template>,
        /// How soon it must answer.
        within: Option<Span>,
    }
}

/// The status of an answer over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpStatus(u16);

impl HttpStatus {
    /// All is well.
    pub const OK: Self = Self(200);

    /// Returns the number.
    pub fn code(self) -> u16 {
        self.0
    }
}

impl crate::decode::Decode for HttpStatus {
    fn decode(
        value: crate::decode::Value<'_>,
        cx: &mut crate::decode::Context<'_>,
    ) -> Option<Self> {
        let number = crate::decode::whole_number(value, 100, 599, cx)?;
        u16::try_from(number).ok().map(Self)
    }

    fn encode(&self, _defaults: crate::decode::Defaults) -> serde_json::Value {
        serde_json::Value::from(self.0)
    }

    fn schema(_definitions: &mut crate::decode::Definitions) -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 100, "maximum": 599 })
    }
}

table! {
    /// A port takes connections.
    pub struct TcpProbe {
        /// Host and port.
        tcp: Template,
        /// How soon it must.
        within: Option<Span>,
    }
}

table! {
    /// A name leads to the right addresses.
    pub struct DnsProbe {
        /// The name.
        dns: Template,
        /// The addresses that it must lead to; if left out, to any.
        resolves_to: Vec<Template> = Vec::new(),
        /// How soon it must.
        within: Option<Span>,
    }
}

table! {
    /// A mail that the application sends arrives.
    pub struct SmtpProbe {
        /// How it is sent and when it must be there.
        smtp: MailTrip,
    }
}

table! {
    /// A mail's way.
    pub struct MailTrip {
        /// Makes the application send it.
        send: Command,
        /// How soon it must arrive.
        arrives_within: Span = Span::from_seconds(30),
    }
}

table! {
    /// A command ends with 0.
    pub struct CommandProbe {
        /// The command.
        command: Command,
        /// What its output must be.
        expect: Option<Expectation>,
        /// How soon it must end.
        within: Option<Span>,
    }
}
