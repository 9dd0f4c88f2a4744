//! The progress bar: one line on a terminal's standard error, fed by the events of an operation.
//!
//! What ends within [`SILENCE`] shows nothing, so that quick commands do not flicker.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lifeboat_model::{Event, EventSink, Stage, Work};

/// How long a stage runs before it is shown.
const SILENCE: Duration = Duration::from_millis(250);

/// How often the line is redrawn, in Hz: more is not seen and costs terminals over slow lines.
const REDRAWS_PER_SECOND: u8 = 30;

/// How often the spinner turns while nothing advances.
const TICK: Duration = Duration::from_millis(200);

/// Draws the stage that runs.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    stage: Stage,
    since: Instant,
    total: Option<Work>,
    done: Work,
    bar: Option<ProgressBar>,
}

impl EventSink for Progress {
    fn emit(&self, event: Event) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { stage, total } => {
                end(running.take());
                *running = Some(Running {
                    stage,
                    since: Instant::now(),
                    total,
                    done: Work::default(),
                    bar: None,
                });
            }
            Event::Advanced { stage, work } => {
                if let Some(running) = running.as_mut().filter(|running| running.stage == stage) {
                    running.advance(work);
                }
            }
            Event::Finished { stage } => {
                if running.as_ref().is_some_and(|running| running.stage == stage) {
                    end(running.take());
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        end(self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Running {
    fn advance(&mut self, work: Work) {
        self.done.items += work.items;
        self.done.bytes += work.bytes;
        if self.bar.is_none() && self.since.elapsed() >= SILENCE {
            self.bar = Some(self.draw());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.position());
            bar.set_message(format!("{} items", self.done.items));
        }
    }

    /// Counts bytes where the total is in bytes or unknown, items otherwise.
    const fn position(&self) -> u64 {
        match self.total {
            Some(Work { bytes: 0, items }) if items > 0 => self.done.items,
            _ => self.done.bytes,
        }
    }

    fn draw(&self) -> ProgressBar {
        let (length, template) = match self.total {
            Some(Work { bytes, .. }) if bytes > 0 => (
                Some(bytes),
                "{spinner} {prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
            ),
            Some(Work { items, .. }) if items > 0 => {
                (Some(items), "{spinner} {prefix} {wide_bar} {pos}/{len} {eta}")
            }
            _ => (None, "{spinner} {prefix} {binary_bytes} {msg} {binary_bytes_per_sec} {elapsed}"),
        };
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(length, target)
            .with_prefix(self.stage.to_string())
            .with_style(
                ProgressStyle::with_template(template).expect("the templates above are valid"),
            );
        bar.enable_steady_tick(TICK);
        bar
    }
}

fn end(running: Option<Running>) {
    if let Some(bar) = running.and_then(|running| running.bar) {
        bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(total: Option<Work>) -> Progress {
        let progress = Progress::default();
        progress.emit(Event::Started { stage: Stage::Backup, total });
        progress
    }

    #[test]
    fn a_quick_stage_draws_nothing() {
        let progress = started(None);
        let work = Work { items: 1, bytes: 10 };
        progress.emit(Event::Advanced { stage: Stage::Backup, work });
        let state = progress.0.lock().unwrap();
        let running = state.as_ref().unwrap();
        assert!(running.bar.is_none());
        assert_eq!(running.done, work);
    }

    #[test]
    fn a_stage_that_lasts_is_drawn_until_it_ends() {
        for total in [None, Some(Work { items: 4, bytes: 0 }), Some(Work { items: 4, bytes: 99 })] {
            let progress = started(total);
            if let Some(running) = progress.0.lock().unwrap().as_mut() {
                running.since = Instant::now().checked_sub(SILENCE).unwrap();
            }
            progress
                .emit(Event::Advanced { stage: Stage::Backup, work: Work { items: 1, bytes: 10 } });
            assert!(progress.0.lock().unwrap().as_ref().unwrap().bar.is_some());
            progress.emit(Event::Finished { stage: Stage::Backup });
            assert!(progress.0.lock().unwrap().is_none());
        }
    }

    #[test]
    fn events_of_another_stage_are_not_counted() {
        let progress = started(None);
        progress.emit(Event::Advanced { stage: Stage::Data, work: Work { items: 1, bytes: 1 } });
        progress.emit(Event::Finished { stage: Stage::Data });
        assert_eq!(progress.0.lock().unwrap().as_ref().unwrap().done, Work::default());
    }
}
