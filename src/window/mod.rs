//! Event time, watermarks, panes and rolling windows. The only door to polars.
//!
//! Panes first, windows over panes: an item is counted once, in its pane; a window is a sum of closed panes.

pub mod index;
pub mod market;
pub mod panes;
pub mod parquet;
pub mod rolling;
pub mod sources;
pub mod table;
pub mod watermark;

pub use index::SentimentIndex;
pub use market::{MarketPanes, MarketTally};
pub use panes::{OpenPanes, PaneRecord};
pub use rolling::{History, WindowCounts};
pub use sources::SourceCounts;
pub use table::PaneTable;
pub use watermark::{PartitionClock, WatermarkMerge};

/// A value for each subject. Its hashes differ from process to process; nothing may depend on its order.
pub type SubjectMap<T> = std::collections::HashMap<crate::news::Subject, T, foldhash::fast::RandomState>;
