//! The progress bar: one line on a terminal's standard error, fed by the events of an operation.
//!
//! What ends within [`SILENCE`] shows nothing, so that quick commands do not flicker.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lifeboat_model::{Event, EventSink, Lsn, Stage, Timestamp, Work, counted};

use crate::render;
use crate::screen::talk;

/// How long a stage runs before it is shown.
const SILENCE: Duration = Duration::from_millis(250);

/// How often the line is redrawn, in Hz: more is not seen and costs terminals over slow lines.
const REDRAWS_PER_SECOND: u8 = 30;

/// How often the spinner turns while nothing advances.
const TICK: Duration = Duration::from_millis(200);

/// Draws the stage that runs; of several that run at once the one that began last.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Vec<Running>>);

/// Says in a line what is waited for, where no line can be redrawn.
#[derive(Debug)]
pub struct Lines;

impl EventSink for Lines {
    fn emit(&self, event: Event) {
        if let Event::Started { stage: stage @ Stage::Listings, .. } = event {
            talk(&format!("{stage}\n"));
        }
    }
}

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
                running.retain(|other| other.stage != stage);
                running.last_mut().map(Running::hide);
                let (since, done) = (Instant::now(), Work::default());
                running.push(Running { stage, since, total, done, bar: None });
                // Nothing advances while it is only waited, and it is told of what lasts.
                if stage == Stage::Listings
                    && let Some(waiting) = running.last_mut()
                {
                    waiting.bar = Some(waiting.draw());
                }
            }
            Event::Advanced { stage, work } => {
                let last = running.len().saturating_sub(1);
                let stages = running.iter_mut().enumerate();
                for (number, running) in stages.filter(|(_, running)| running.stage == stage) {
                    running.advance(work);
                    if number == last {
                        running.show();
                    }
                }
            }
            Event::Replayed { lsn, committed } => {
                if let Some(running) = running.last_mut() {
                    running.replayed(lsn, committed);
                }
            }
            Event::Finished { stage } => running.retain(|other| other.stage != stage),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.hide();
    }
}

impl Running {
    const fn advance(&mut self, work: Work) {
        self.done.items += work.items;
        self.done.bytes += work.bytes;
    }

    fn show(&mut self) {
        if self.bar.is_none() && self.since.elapsed() >= SILENCE {
            self.bar = Some(self.draw());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.position());
            bar.set_message(counted(self.done.items, "item"));
        }
    }

    /// Shows how far a server is that replays its log.
    fn replayed(&mut self, lsn: Lsn, committed: Option<Timestamp>) {
        self.show();
        if let Some(bar) = &self.bar {
            let committed = committed.map(|time| format!(", {}", render::time::instant(time)));
            bar.set_message(format!("replayed up to {lsn}{}", committed.unwrap_or_default()));
        }
    }

    fn hide(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn started(total: Option<Work>) -> Progress {
        let progress = Progress::default();
        progress.emit(Event::Started { stage: Stage::Backup, total });
        progress
    }

    /// Lets all stages have run for as long as it takes to be drawn.
    fn lasts(progress: &Progress) {
        for running in progress.0.lock().unwrap().iter_mut() {
            running.since = Instant::now().checked_sub(SILENCE).unwrap();
        }
    }

    #[test]
    fn a_quick_stage_draws_nothing() {
        let progress = started(None);
        let work = Work { items: 1, bytes: 10 };
        progress.emit(Event::Advanced { stage: Stage::Backup, work });
        let state = progress.0.lock().unwrap();
        let running = state.last().unwrap();
        assert!(running.bar.is_none());
        assert_eq!(running.done, work);
    }

    #[test]
    fn a_stage_that_lasts_is_drawn_until_it_ends() {
        for total in [None, Some(Work { items: 4, bytes: 0 }), Some(Work { items: 4, bytes: 99 })] {
            let progress = started(total);
            lasts(&progress);
            progress
                .emit(Event::Advanced { stage: Stage::Backup, work: Work { items: 1, bytes: 10 } });
            assert!(progress.0.lock().unwrap().last().unwrap().bar.is_some());
            progress.emit(Event::Finished { stage: Stage::Backup });
            assert!(progress.0.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn events_of_another_stage_are_not_counted() {
        let progress = started(None);
        progress.emit(Event::Advanced { stage: Stage::Data, work: Work { items: 1, bytes: 1 } });
        progress.emit(Event::Finished { stage: Stage::Data });
        assert_eq!(progress.0.lock().unwrap().last().unwrap().done, Work::default());
    }

    #[test]
    fn of_two_stages_the_later_one_is_drawn_and_then_the_other() {
        let progress = started(None);
        progress.emit(Event::Started { stage: Stage::Data, total: None });
        lasts(&progress);
        let work = Work { items: 1, bytes: 1 };
        let advance = |stage| progress.emit(Event::Advanced { stage, work });
        let drawn = || -> Vec<bool> {
            progress.0.lock().unwrap().iter().map(|running| running.bar.is_some()).collect()
        };
        advance(Stage::Backup);
        assert_eq!(drawn(), [false, false]);
        advance(Stage::Data);
        assert_eq!(drawn(), [false, true]);
        progress.emit(Event::Finished { stage: Stage::Data });
        advance(Stage::Backup);
        assert_eq!(drawn(), [true]);
        assert_eq!(progress.0.lock().unwrap()[0].done, Work { items: 2, bytes: 2 });
    }
}
