//! A plan's id follows its meaning and nothing else.

use crate::fixture::Sample;

fn id(sample: &Sample) -> String {
    sample.load().unwrap_or_else(|_| panic!("{}", sample.report())).plan.id().to_hex()
}

#[test]
fn layout_comments_and_spelling_do_not_change_the_id() {
    let small = Sample::small();
    let same = [
        small.clone().plus("# a comment\n"),
        small.clone().with("rpo = \"24h\"", "rpo   =   '1d'"),
        small.clone().with("cron = \"0 2 * * *\"", "cron = \"0  2 * * *\""),
        small.clone().with("rpo = \"24h\"", "rpo = \"24h\"\nwatch = false\nexclude = []"),
        small.clone().with(
            "to = [\"near\", \"far\"]",
            "to = [\n  \"near\", # the first\n  \"far\",\n]\ntz = \"UTC\"",
        ),
    ];
    for (at, sample) in same.iter().enumerate() {
        assert_eq!(id(sample), id(&small), "{at}");
    }
}

#[test]
fn meaning_changes_the_id() {
    let small = Sample::small();
    let other = [
        small.clone().with("rpo = \"24h\"", "rpo = \"25h\""),
        small.clone().with("rpo = \"24h\"", "rpo = \"24h\"\none_file_system = true"),
        small.clone().with("name = \"Shop\"", "name = \"The shop\""),
        small.clone().with("[\"near\", \"far\"]", "[\"far\", \"near\"]"),
        small.clone().with("/srv/shop", "/srv/shop2"),
    ];
    for sample in &other {
        assert_ne!(id(sample), id(&small));
    }
}

#[test]
fn the_runbooks_are_part_of_the_plan() {
    let step = "[[steps]]\nid = \"a\"\nwait = \"1m\"\n";
    let sample = Sample::small().plus_runbook(step);
    let same = Sample::small().plus_runbook(&step.replace("1m", "60s"));
    let other = Sample::small().plus_runbook(&step.replace("1m", "2m"));
    assert_eq!(id(&sample), id(&same));
    assert_ne!(id(&sample), id(&other));
}

/// Ids are stored on tiers and in records: a change of the canonical form would orphan them.
#[test]
fn the_canonical_form_is_pinned() {
    insta::assert_snapshot!(id(&Sample::small()));
    insta::assert_snapshot!(id(&Sample::techit()));
}
