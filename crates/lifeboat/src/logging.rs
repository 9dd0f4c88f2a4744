//! What is logged, to standard error: warnings, unless `--verbose`, `--quiet` or `LIFEBOAT_LOG` say otherwise.
//! Beside it spans go where `traces` sends them.

use std::io;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::arguments::{GlobalArguments, LogFormat};
use crate::failure::CommandError;
use crate::render::Paint;
use crate::traces::Traces;

/// Starts logging; `setting` is the value of `LIFEBOAT_LOG` and wins over the options.
pub fn start(
    global: &GlobalArguments,
    setting: Option<&str>,
    paint: Paint,
    traces: Option<&Traces>,
) -> Result<(), CommandError> {
    let filter = match setting {
        Some(setting) => EnvFilter::try_new(setting).map_err(|error| {
            CommandError::usage(
                format!("LIFEBOAT_LOG=`{setting}` is not a filter: {error}"),
                "use a level like `LIFEBOAT_LOG=info`, or `LIFEBOAT_LOG=lifeboat_ops=debug`",
            )
        })?,
        None => EnvFilter::new(level(global)),
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(paint == Paint::Coloured && global.log_format == LogFormat::Human)
        .with_target(false);
    let log = match global.log_format {
        LogFormat::Human => log.with_filter(filter).boxed(),
        // Beside its own fields each line has `spans`: the job, and in it the asset and the tier.
        LogFormat::Json => log
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_filter(filter)
            .boxed(),
    };
    let layer = traces.map(Traces::layer);
    // A second start in one process can only be a test's; the first subscriber stays.
    _ = tracing_subscriber::registry().with(log).with(layer).try_init();
    Ok(())
}

/// Chooses the level; what other libraries say is of interest only at the last one.
const fn level(global: &GlobalArguments) -> &'static str {
    match (global.quiet, global.verbose) {
        (true, _) => "error",
        // Whoever looks for credentials tells each place where there are none, as Rust writes it; the error says it as well.
        (false, 0) => "warn,reqsign_core=error",
        (false, 1) => {
            "warn,reqsign_core=error,lifeboat=info,lifeboat_ops=info,lifeboat_repository=info,lifeboat_postgres=info,lifeboat_tiers=info"
        }
        (false, 2) => {
            "info,reqsign_core=error,lifeboat=debug,lifeboat_ops=debug,lifeboat_repository=debug,lifeboat_postgres=debug,lifeboat_tiers=debug"
        }
        (false, _) => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter() {
        for verbose in 0..4 {
            let global = GlobalArguments { verbose, ..GlobalArguments::default() };
            assert!(EnvFilter::try_new(level(&global)).is_ok(), "{verbose}");
        }
    }
}
