//! Draws charts as SVG files for the documentation: [`LineChart`] for growth, [`BarChart`] for races.
//!
//! ```
//! use lifeboat_bench::chart::{Axis, LineChart, Scale, Series};
//!
//! let chart = LineChart {
//!     title: "Opening an index".to_owned(),
//!     x: Axis { label: "blobs".to_owned(), scale: Scale::Logarithmic },
//!     y: Axis { label: "seconds".to_owned(), scale: Scale::Linear },
//!     series: vec![Series { name: "mapped".to_owned(), points: vec![(1e5, 0.01), (1e7, 0.4)] }],
//! };
//! assert!(chart.render().starts_with("<svg "));
//! ```
//!
//! The output depends on the input alone, so that a chart changes in a commit only when its numbers
//! do. Colours tell apart for most eyes and on paper; the background is white in dark pages too.

mod bars;
mod lines;
mod svg;

pub use bars::{Bar, BarChart, Group};
pub use lines::{Axis, LineChart, Scale, Series};
