//! `[schedules]`, `[retention]`, `[blackouts]`, `[jobs]`, `[verification]`, `[restore_tests]`, `[drills]`: when things
//! happen, when not, and how many at the same time.

use lifeboat_model::{
    AssetName, ByteSize, CheckName, ScenarioName, ScheduleName, ServiceName, TierName,
};

use crate::plan::tier::Keep;
use crate::schedule::Timetable;
use crate::table::table;
use crate::value::cron::{Cron, Zone};
use crate::value::duration::Span;
use crate::value::instant::PointInTime;
use crate::value::percent::Percent;
use crate::value::selection::Selection;
use crate::value::sink::SinkAddress;

table! {
    /// When what is backed up, and where to.
    pub struct Schedule {
        /// When it is due.
        cron: Cron,
        /// Whose clock it follows.
        tz: Zone = Zone::UTC,
        /// What is backed up.
        assets: Selection<AssetName>,
        /// The tiers that get a copy.
        to: Selection<TierName>,
        /// How long what this schedule makes is kept, beyond the tier's own rules.
        keep: Option<Keep>,
        /// How much the work gives way to other work of the machine.
        nice: Option<Niceness>,
        /// How many bytes a second go to each tier at most.
        bandwidth: Option<ByteSize>,
        /// By how much it is put off at most, always by as much, so that not all sites begin at once.
        jitter: Span = Span::default(),
    }
}

crate::value::text_value! {
    ByteSize: "bad-size", { "pattern": "^[0-9]+ *([KMGT]i?)?B$", "examples": ["64MiB", "500KB"] };
}

/// Daily, after the nightly backups of most plans.
const RETENTION_CRON: &str = "45 4 * * *";

table! {
    /// When what the plan does not keep is removed from the tiers.
    pub struct Retention {
        /// When it is due.
        cron: Cron = retention_cron(),
        /// Whose clock it follows.
        tz: Zone = Zone::UTC,
        /// How much the work gives way to other work of the machine.
        nice: Option<Niceness>,
        /// By how much it is put off at most, always by as much.
        jitter: Span = Span::default(),
    }
}

fn retention_cron() -> Cron {
    RETENTION_CRON.parse().expect("it is five fields")
}

impl Default for Retention {
    fn default() -> Self {
        Self { cron: retention_cron(), tz: Zone::UTC, nice: None, jitter: Span::default() }
    }
}

table! {
    /// Hours in which nothing is begun; what was due then is made up for once when they are over. What
    /// runs already goes on.
    pub struct Blackout {
        /// When it begins.
        cron: Cron,
        /// Whose clock it follows.
        tz: Zone = Zone::UTC,
        /// How long it lasts.
        lasts: Span,
        /// Why, for whoever asks what is held up.
        why: Option<String>,
        /// Schedules that are kept nevertheless.
        spare: Vec<ScheduleName> = Vec::new(),
    }
}

table! {
    /// How much is done at the same time.
    #[derive(Default)]
    pub struct Jobs {
        /// How many jobs work at the same time at most. One of them may verify, test or remove, the others back up. What is
        /// captured because it changed has as many places of its own, so that it waits for nothing long.
        at_once: AtOnce = AtOnce::default(),
    }
}

/// How many work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtOnce(u8);

impl AtOnce {
    const MAX: i64 = 64;

    /// Returns the number.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for AtOnce {
    /// Something long, something that proves, and one place for what must not wait for either.
    fn default() -> Self {
        Self(3)
    }
}

impl crate::decode::Decode for AtOnce {
    fn decode(
        value: crate::decode::Value<'_>,
        cx: &mut crate::decode::Context<'_>,
    ) -> Option<Self> {
        let number = crate::decode::whole_number(value, 1, Self::MAX, cx)?;
        u8::try_from(number).ok().map(Self)
    }

    fn encode(&self, _defaults: crate::decode::Defaults) -> serde_json::Value {
        serde_json::Value::from(self.0)
    }

    fn schema(_definitions: &mut crate::decode::Definitions) -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// How much work gives way to others: 0 not at all, 19 as much as can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Niceness(u8);

impl Niceness {
    const MAX: i64 = 19;

    /// Returns the number that `nice` takes.
    pub fn value(self) -> u8 {
        self.0
    }
}

impl crate::decode::Decode for Niceness {
    fn decode(
        value: crate::decode::Value<'_>,
        cx: &mut crate::decode::Context<'_>,
    ) -> Option<Self> {
        let number = crate::decode::whole_number(value, 0, Self::MAX, cx)?;
        u8::try_from(number).ok().map(Self)
    }

    fn encode(&self, _defaults: crate::decode::Defaults) -> serde_json::Value {
        serde_json::Value::from(self.0)
    }

    fn schema(_definitions: &mut crate::decode::Definitions) -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

table! {
    /// How copies are proven to be whole.
    pub struct Verification {
        /// What is read back after each backup, besides the structure.
        after_backup: AfterBackup = AfterBackup { read_data: Percent::whole(5) },
        /// The time within which everything is read back once.
        full_within: Span = Span::from_seconds(30 * 24 * 3600),
        /// How late damage in the data may be noticed; copies must reach back further than that.
        noticed_within: Option<Span>,
    }
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            after_backup: AfterBackup { read_data: Percent::whole(5) },
            full_within: Span::from_seconds(30 * 24 * 3600),
            noticed_within: None,
        }
    }
}

table! {
    /// What is read back after a backup.
    pub struct AfterBackup {
        /// The share of the stored data.
        read_data: Percent = Percent::whole(5),
    }
}

table! {
    /// A restore into a throwaway place, with checks on what came back.
    pub struct RestoreTest {
        /// When it is due.
        cron: Cron,
        /// Whose clock it follows.
        tz: Zone = Zone::UTC,
        /// By how much it is put off at most, always by as much.
        jitter: Span = Span::default(),
        /// What is restored.
        assets: Selection<AssetName>,
        /// Which state of the past.
        at: PointInTime = PointInTime::Latest,
        /// What must hold then.
        checks: Vec<CheckName> = Vec::new(),
        /// Services that are started on what came back, so that checks can ask them; none if left out.
        start: Option<Selection<ServiceName>>,
        /// Services of others that something stands in for meanwhile.
        sinks: Vec<SinkAddress> = Vec::new(),
        /// The staging host on which it is done, reached over ssh, with lifeboat on it; left out: here.
        on: Option<String>,
    }
}

table! {
    /// A rehearsal of a scenario.
    pub struct Drill {
        /// What is rehearsed.
        scenario: ScenarioName,
        /// When it is due.
        cron: Cron,
        /// Whose clock it follows.
        tz: Zone = Zone::UTC,
        /// By how much it is put off at most, always by as much.
        jitter: Span = Span::default(),
        /// How long it may go on; what is not done by then is torn down.
        window: Option<Span>,
        /// Services of others that something stands in for: nothing else answers in a drill.
        sinks: Vec<SinkAddress> = Vec::new(),
        /// What is to hold in the end, beside what is always asked.
        checklist: Vec<ChecklistPoint> = Vec::new(),
    }
}

table! {
    /// A point of a drill's check-list.
    pub struct ChecklistPoint {
        /// What it says.
        says: String,
        /// The checks that must all pass for it.
        checks: Vec<CheckName>,
    }
}

macro_rules! timetables {
    ($($name:ident)*) => {$(
        impl $name {
            /// Returns when it is due.
            pub fn timetable(&self) -> Timetable {
                Timetable { cron: self.cron.clone(), zone: self.tz.clone() }
            }
        }
    )*};
}

timetables! { Schedule Retention Blackout RestoreTest Drill }
