//! The names of the model as values and keys of the plan.

use lifeboat_model::{
    AssetName, BlackoutName, ChannelName, CheckName, ClassName, ContactName, DrillName, PlaceName,
    RestoreTestName, ScenarioName, ScheduleName, ServiceName, SiteName, StepName, TierName,
    VendorName,
};

use crate::decode::{NAME_PATTERN, Name};
use crate::value::text_value;

macro_rules! names {
    ($($name:ident)*) => {
        $( impl Name for $name {} )*
        text_value! { $( $name: "bad-name", { "pattern": NAME_PATTERN }; )* }
    };
}

names! {
    AssetName BlackoutName ChannelName CheckName ClassName ContactName DrillName PlaceName RestoreTestName ScenarioName
    ScheduleName ServiceName SiteName StepName TierName VendorName
}
