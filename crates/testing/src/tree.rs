//! Directory trees: made with everything Linux can hold, captured, and compared.

mod attribute;
mod compare;
mod sample;
mod state;

pub use compare::{Aspect, Difference};
pub use sample::{Feature, Sample};
pub use state::{Entry, Kind, TreeState, capture};
