//! `[contacts]`, `[vendors]`, `[[escalation]]`, `[notify]`: who is told, and how.

use lifeboat_model::{ChannelName, ContactName};

use crate::table::{kinds, table};
use crate::value::command::Command;
use crate::value::duration::Span;
use crate::value::secret::SecretRef;

table! {
    /// A person.
    pub struct Contact {
        /// Who it is.
        name: String,
        /// How to call them.
        phone: Option<String>,
        /// How to write to them.
        email: Option<String>,
        /// What they answer for.
        role: Option<String>,
        /// The login by which their approval is known.
        login: Option<String>,
        /// The key by which their approval is known.
        public_key: Option<String>,
    }
}

table! {
    /// A company that something is bought from.
    pub struct Vendor {
        /// What it is called.
        name: Option<String>,
        /// How to call its support.
        phone: Option<String>,
        /// How to write to its support.
        email: Option<String>,
        /// Where its support is found.
        url: Option<String>,
        /// The account there.
        account: Option<String>,
        /// What it promised.
        sla: Option<String>,
    }
}

table! {
    /// Who is told when nobody acknowledged for a while.
    pub struct Escalation {
        /// Its number; the first is told first.
        level: u32,
        /// What it is called.
        name: String,
        /// How long after the start it is told, unless somebody acknowledged.
        after: Span,
        /// Who is told.
        contacts: Vec<ContactName>,
        /// How they are told.
        via: Vec<ChannelName>,
        /// What they then do.
        duties: Vec<String> = Vec::new(),
    }
}

kinds! {
    /// A way to tell somebody.
    pub enum Channel by key {
        /// Mail.
        Smtp(SmtpChannel) = "smtp",
        /// A PagerDuty service.
        PagerDuty(PagerDutyChannel) = "pagerduty",
        /// A Slack channel.
        Slack(SlackChannel) = "slack",
        /// Any address that takes a JSON document.
        Webhook(WebhookChannel) = "webhook",
        /// A dead man's switch.
        Ping(PingChannel) = "ping",
        /// A command that reads the message.
        Command(CommandChannel) = "command",
    }
}

table! {
    /// Mail.
    pub struct SmtpChannel {
        /// The server: smtps://host or smtp://host, with a port if need be.
        smtp: String,
        /// The sender.
        from: String,
        /// Who gets it, besides the contacts that are told.
        to: Vec<String> = Vec::new(),
        /// The login at the server.
        user: Option<String>,
        /// The password there.
        password: Option<SecretRef>,
    }
}

table! {
    /// A PagerDuty service.
    pub struct PagerDutyChannel {
        /// Its routing key.
        pagerduty: SecretRef,
    }
}

table! {
    /// A Slack channel.
    pub struct SlackChannel {
        /// Its webhook's address, which is a secret.
        slack: SecretRef,
    }
}

table! {
    /// Any address that takes a JSON document.
    pub struct WebhookChannel {
        /// The address, which is a secret.
        webhook: SecretRef,
        /// The key that signs what is sent.
        sign_with: Option<SecretRef>,
    }
}

table! {
    /// A dead man's switch: told of every run, so that silence is noticed elsewhere.
    pub struct PingChannel {
        /// The address, which is a secret.
        ping: SecretRef,
    }
}

table! {
    /// A command that reads the message from its standard input.
    pub struct CommandChannel {
        /// The command.
        command: Command,
    }
}
