//! A runbook file: the steps of a recovery, their order, and how each is undone.

use lifeboat_model::{AssetName, ChannelName, CheckName, ContactName, ServiceName, StepName};
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::decode::{Context, Decode, Defaults, Definitions, Value};
use crate::lint::walk::step_templates;
use crate::place::Path;
use crate::table::{kinds, table, words};
use crate::value::command::Command;
use crate::value::duration::Span;
use crate::value::estimate::Estimate;
use crate::value::selection::Selection;
use crate::value::template::Template;

table! {
    /// What is done when something happened.
    pub struct Runbook {
        /// What it is called.
        title: String,
        /// What it is for.
        description: Option<String>,
        /// What is done; `needs` gives the order.
        steps: Vec<Step>,
    }
}

table! {
    /// One thing that is done.
    pub struct Step {
        /// Its name within the runbook.
        id: StepName,
        /// What it is called among people.
        title: Option<String>,
        /// How long it is thought to take.
        estimate: Option<Estimate>,
        /// The steps that must be done before.
        needs: Vec<StepName> = Vec::new(),
        /// The host on which it is done, reached over ssh; left out: here.
        on: Option<Template>,
        /// How long it may take.
        timeout: Option<Span>,
        /// How often it is tried again.
        retry: Option<Retry>,
        /// When it is done at all.
        when: Option<When>,
        /// Whether its failure ends the recovery.
        critical: bool = true,
        /// How it is undone.
        undo: Option<Action>,
        /// When it is left out.
        skip_in: Option<RunKind>,
        /// Why it may be left out then; the report repeats it.
        reason: Option<String>,
        /// The checks that tell that it worked.
        check: Vec<CheckName> = Vec::new(),
        .. /// What is done.
        action: Action,
    }
}

table! {
    /// How often something is tried again.
    pub struct Retry {
        /// How many times, after the first.
        times: u32,
        /// How long to wait in between.
        wait: Span = Span::from_seconds(10),
    }
}

table! {
    /// When a step is done at all: if what one before it gave is this.
    pub struct When {
        /// The step before: of a command its output is looked at, of a person the note.
        step: StepName,
        /// What it has to be.
        is: String,
    }
}

words! {
    /// Why a runbook runs.
    pub enum RunKind {
        /// To rehearse it.
        Drill = "drill",
        /// Because it happened.
        Recovery = "recovery",
    }
}

kinds! {
    /// What a step does.
    pub enum Action by key {
        /// A person does something, confirms it and may leave a note.
        Manual(ManualAction) = "manual",
        /// A person agrees.
        Approve(ApproveAction) = "approve",
        /// A command runs.
        Run(RunAction) = "run",
        /// An asset is brought back.
        Restore(RestoreAction) = "restore",
        /// Services are started, what they need first.
        Start(StartAction) = "start",
        /// Services are stopped, what needs them first.
        Stop(StopAction) = "stop",
        /// Time passes, or checks come to hold.
        Wait(WaitAction) = "wait",
        /// The platform is cut off from the network.
        Isolate(IsolateAction) = "isolate",
        /// Evidence is kept before anything is changed.
        Evidence(EvidenceAction) = "evidence",
        /// Credentials are replaced.
        Rotate(RotateAction) = "rotate",
        /// Somebody is told.
        Notify(NotifyAction) = "notify",
        /// Checks are asked.
        Check(CheckAction) = "check",
    }
}

impl Step {
    /// Returns what its templates take of other steps: which step, and which of what it gives.
    pub fn takes(&self) -> Vec<(StepName, String)> {
        let templates = step_templates(self, &Path::new([] as [String; 0]));
        let names = templates.iter().flat_map(|(_, template)| template.names());
        names.filter_map(taken).collect()
    }
}

/// Reads `steps.NAME.OUTPUT`.
fn taken(name: &str) -> Option<(StepName, String)> {
    let (step, output) = name.strip_prefix("steps.")?.split_once('.')?;
    Some((step.parse().ok()?, output.to_owned()))
}

impl Action {
    /// Returns the names of what it gives to the steps behind it.
    pub const fn gives(&self) -> &'static [&'static str] {
        match self {
            Self::Manual(_) => &["note"],
            Self::Approve(_) => &["note", "by"],
            Self::Rotate(rotate) if rotate.rotate.run.is_none() => &["note"],
            Self::Run(_) => &["output"],
            Self::Restore(_) => &["time", "target"],
            Self::Evidence(_) => &["target", "digest"],
            _ => &[],
        }
    }

    /// Returns which of these a condition looks at.
    pub fn said(&self) -> Option<&'static str> {
        self.gives().iter().copied().find(|name| matches!(*name, "note" | "output"))
    }
}

table! {
    /// A person does something, confirms it and may leave a note.
    pub struct ManualAction {
        /// What to do.
        manual: Template,
        /// The points that all have to be ticked off.
        checklist: Vec<String> = Vec::new(),
    }
}

table! {
    /// A person agrees.
    pub struct ApproveAction {
        /// Who, and to what.
        approve: Approval,
    }
}

table! {
    /// A question that somebody must say yes to.
    pub struct Approval {
        /// The role, or the contact, that may say it.
        by: String,
        /// The question.
        ask: Template,
    }
}

table! {
    /// A command runs.
    pub struct RunAction {
        /// The command; it worked if it ends with 0.
        run: Command,
    }
}

table! {
    /// An asset is brought back.
    pub struct RestoreAction {
        /// Which, from when, and where to.
        restore: RestoreWhat,
    }
}

table! {
    /// What is brought back.
    pub struct RestoreWhat {
        /// The asset.
        asset: AssetName,
        /// Which state of the past; the recovery's own point if left out.
        at: Option<Template>,
        /// Where to, if not to where it was.
        to: Option<Template>,
        /// How much of an asset of files comes back to where it was.
        extent: Extent = Extent::Everything,
    }
}

words! {
    /// How much of files comes back to where they were.
    pub enum Extent {
        /// All of them, and nothing else is there afterwards.
        Everything = "everything",
        /// What is missing or differs; what is there besides stays.
        Missing = "missing-or-different",
    }
}

table! {
    /// Services are started, what they need first.
    pub struct StartAction {
        /// Which.
        start: Selection<ServiceName>,
    }
}

table! {
    /// Services are stopped, what needs them first.
    pub struct StopAction {
        /// Which.
        stop: Selection<ServiceName>,
    }
}

table! {
    /// Time passes, or checks come to hold.
    pub struct WaitAction {
        /// For how long, or until what.
        wait: Wait,
    }
}

/// For how long, or until what.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// A length of time.
    For(Span),
    /// Until checks hold.
    Until(WaitUntil),
}

table! {
    /// Until checks hold.
    pub struct WaitUntil {
        /// The checks.
        until: Vec<CheckName>,
        /// Give up after this.
        at_most: Span,
    }
}

impl Decode for Wait {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => Decode::decode(value, cx).map(Self::Until),
            _ => Decode::decode(value, cx).map(Self::For),
        }
    }

    fn encode(&self, defaults: Defaults) -> Json {
        match self {
            Self::For(span) => span.encode(defaults),
            Self::Until(until) => until.encode(defaults),
        }
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "anyOf": [Span::schema(definitions), WaitUntil::schema(definitions)] })
    }
}

table! {
    /// The platform is cut off from the network.
    pub struct IsolateAction {
        /// How.
        isolate: Isolation,
    }
}

table! {
    /// How something is cut off from the network.
    pub struct Isolation {
        /// Addresses that still get through, so that whoever helps can.
        allow: Vec<String> = Vec::new(),
        /// What does it, if not lifeboat itself.
        run: Option<Command>,
    }
}

table! {
    /// Evidence is kept before anything is changed.
    pub struct EvidenceAction {
        /// What is kept where.
        evidence: EvidenceWhat,
    }
}

table! {
    /// What is kept as evidence.
    pub struct EvidenceWhat {
        /// Files, folders and devices that are copied.
        take: Vec<Template>,
        /// Where to.
        to: Template,
    }
}

table! {
    /// Credentials are replaced.
    pub struct RotateAction {
        /// Which, and how.
        rotate: Rotation,
    }
}

table! {
    /// Credentials that are replaced.
    pub struct Rotation {
        /// Which.
        what: Template,
        /// What replaces them; if left out, a person does and confirms it.
        run: Option<Command>,
    }
}

table! {
    /// Somebody is told.
    pub struct NotifyAction {
        /// Who, how and what.
        notify: Notice,
    }
}

table! {
    /// What somebody is told.
    pub struct Notice {
        /// What.
        message: Template,
        /// Who.
        contacts: Vec<ContactName> = Vec::new(),
        /// How.
        via: Vec<ChannelName>,
    }
}

table! {
    /// Checks are asked.
    pub struct CheckAction {
        /// Which.
        check: Vec<CheckName>,
    }
}
