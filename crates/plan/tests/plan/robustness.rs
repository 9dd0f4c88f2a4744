//! No text makes the parser panic, and no mistake goes without a place.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::fixture::Sample;

/// Reads a plan whatever it is, and holds what must always hold.
fn survives(plan: String, runbook: Option<String>) {
    let mut sample = Sample::techit();
    sample.plan = plan;
    if let Some(runbook) = runbook {
        sample.files.insert("runbooks/media-loss.toml".to_owned(), runbook);
    }
    match sample.load() {
        Ok(checked) => {
            assert!(!checked.diagnostics.iter().any(lifeboat_plan::Diagnostic::is_error));
            assert_eq!(checked.plan.id(), sample.load().unwrap().plan.id());
        }
        Err(rejected) => {
            assert!(rejected.diagnostics.iter().any(lifeboat_plan::Diagnostic::is_error));
        }
    }
    for diagnostic in sample.diagnostics() {
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
        assert!(diagnostic.text.get(diagnostic.covers.0..diagnostic.covers.1).is_some());
        assert!(!diagnostic.render(lifeboat_plan::Colour::Never).is_empty());
    }
}

/// Changes a text in a way in which a slip of the hand, or of a program, would.
fn mutate(text: &str, at: Index, length: usize, piece: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let start = at.index(characters.len() + 1);
    let end = (start + length).min(characters.len());
    characters[..start]
        .iter()
        .copied()
        .chain(piece.chars())
        .chain(characters[end..].iter().copied())
        .collect()
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("\"".to_owned()),
        Just("[[".to_owned()),
        Just("]".to_owned()),
        Just("{{".to_owned()),
        Just("\n[assets.x]\n".to_owned()),
        Just(" = ".to_owned()),
        Just("ü\u{0}\r".to_owned()),
        Just("99999999999999999999".to_owned()),
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_text_is_survived(text: String) {
        survives(text, None);
    }

    #[test]
    fn a_mutated_plan_is_survived(
        changes in prop::collection::vec((any::<Index>(), 0usize..40, piece()), 1..6),
    ) {
        let mut plan = Sample::techit().plan;
        for (at, length, piece) in changes {
            plan = mutate(&plan, at, length, &piece);
        }
        survives(plan, None);
    }

    #[test]
    fn a_mutated_runbook_is_survived(
        changes in prop::collection::vec((any::<Index>(), 0usize..40, piece()), 1..4),
    ) {
        let sample = Sample::techit();
        let mut runbook = sample.files["runbooks/complete-system-failure.toml"].clone();
        for (at, length, piece) in changes {
            runbook = mutate(&runbook, at, length, &piece);
        }
        survives(sample.plan, Some(runbook));
    }

    #[test]
    fn values_of_any_text_are_survived(text: String) {
        use lifeboat_plan::value;
        let _ = text.parse::<value::cron::Cron>();
        let _ = text.parse::<value::cron::Zone>();
        let _ = text.parse::<value::duration::Span>();
        let _ = text.parse::<value::period::Period>();
        let _ = text.parse::<value::connect::ConnectString>();
        let _ = text.parse::<value::address::TierUrl>();
        let _ = text.parse::<value::template::Template>();
        let _ = text.parse::<value::pattern::Pattern>();
        let _ = text.parse::<value::instant::PointInTime>();
    }

    #[test]
    fn cron_is_never_due_before_it_should_be(
        minute in 0u8..60, hour in 0u8..24, day in "[*]|[1-9]|2[0-8]", weekday in "[*]|[0-7]|SAT#1|FRI#L",
        now in -2_000_000_000i64..10_000_000_000,
        zone in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe")],
    ) {
        let table = lifeboat_plan::schedule::Timetable {
            cron: format!("{minute} {hour} {day} * {weekday}").parse().unwrap(),
            zone: zone.parse().unwrap(),
        };
        let now = lifeboat_model::Timestamp::from_second(now).unwrap();
        let next = table.next_after(now).unwrap();
        prop_assert!(next > now);
        // Nothing lies between: the run after any moment before `next` is `next`.
        let just_before = next - jiff::SignedDuration::from_secs(1);
        prop_assert_eq!(table.next_after(just_before.max(now)), Some(next));
    }
}

#[test]
fn deep_nesting_is_survived() {
    for open in ["[", "{a=", "[a.", "a."] {
        survives(format!("x = {}", open.repeat(5_000)), None);
        survives(open.repeat(5_000), None);
    }
}
