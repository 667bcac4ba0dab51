//! Bellwether watches a stream of financial news on Kafka and raises an alert when the mood around a topic, a company or
//! the market turns sharply negative, and says why.
//!
//! ```text
//!                       role: classifier (stateless)                       role: monitor (keyed state)
//!              ┌───────────────────────────────────────────┐        ┌─────────────────────────────────────────┐
//!  news.raw ─▶ │ decode ▶ mask ▶ batch ▶ classify ▶ enrich │ ─news. │ dedupe ▶ panes ▶ rolling ▶ detect ▶ out │ ─▶ sentiment.alerts
//!              └───────────────────────────────────────────┘ observ └─────────────────────────────────────────┘ ─▶ sentiment.windows
//!                 news.scored ◀──┘      └──▶ news.dead       ations─▶
//! ```
//!
//! In the order of the flow:
//!
//! - [`news`]: the plain types that cross between modules; [`config`]: what the user sets
//! - [`kafka`]: consumer, producer, topics, embedded broker; the only door to `rdkafka`
//! - [`decode`]: bytes → item, or the reason for the dead letter topic; [`privacy`]: masking
//! - [`classify`]: texts → topic and sentiment; the only door to `ort` and `tokenizers`
//! - [`enrich`]: the watchlist: which companies, themes and groups an item is about
//! - [`novelty`]: copies of a story count once
//! - [`window`]: event time, watermarks, panes, rolling windows; the only door to polars
//! - [`detect`]: baseline, surges, rules, the life of an alert, its evidence; series of one's own
//! - [`pipeline`]: the roles, and the only files that know the order of stages
//! - [`ingest`]: RSS and Atom feeds as a source; [`outbound`]: requests to addresses that others have named, and the guard before them
//! - [`http`]: page, API, health; [`metrics`]: every metric once; [`reload`]: another configuration or model for a process that runs;
//!   [`audit`]: what was done to it, and by whom
//! - [`actions`]: what operators do to alerts: acknowledgements, silences
//! - [`notify`]: alerts to webhooks and Alertmanagers, in a process of its own
//! - [`evaluate`]: how good the model is on labelled news; [`replay`]: news files as a source; [`backtest`]: news files through the
//!   live code at full speed; [`archive`]: outputs as Parquet files; [`cli`]: one file per subcommand
//!
//! Decode, mask, batch, novelty, window and detect are synchronous, take time as an argument and know neither tokio nor Kafka.

pub mod actions;
pub mod archive;
pub mod audit;
pub mod backtest;
pub mod classify;
pub mod cli;
pub mod config;
pub mod decode;
pub mod detect;
pub mod enrich;
pub mod evaluate;
pub mod http;
pub mod ingest;
pub mod kafka;
pub mod metrics;
pub mod news;
pub mod notify;
pub mod novelty;
pub mod outbound;
pub mod pipeline;
pub mod privacy;
pub mod reload;
pub mod replay;
pub mod window;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
