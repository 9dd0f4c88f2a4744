//! The negative control: what came back is damaged on purpose, and the test has to notice it.
//!
//! The damage is as gross as can be: a server loses all rows, other assets all files. A test that passes on that passes on
//! anything, and says nothing.

use std::collections::BTreeSet;

use lifeboat_model::{AssetName, CheckName, Outcome};
use lifeboat_postgres::DatabaseName;

use super::question::Questions;
use super::restored::{Restored, What, empty};
use super::seed::Draws;
use crate::catalog::body::{NegativeControl, TestedCheck};
use crate::error::{OpsError, explain};

/// Damages one asset that checks ask, and asks them again; they all held before. None of a test that asks nothing: it
/// claims nothing.
pub(super) fn try_on_damage(
    questions: &Questions<'_>,
    before: &[(&CheckName, &TestedCheck)],
    draws: &mut Draws,
) -> Result<Option<NegativeControl>, OpsError> {
    // What a service answered it would answer again: the copy that is damaged is not the one on which it stood.
    let before: Vec<_> =
        before.iter().filter(|(check, _)| !questions.is_of_service(check)).copied().collect();
    let asked: BTreeSet<&AssetName> = before.iter().flat_map(|(_, shown)| &shown.assets).collect();
    let asked: Vec<_> = questions.restored.iter().filter(|r| asked.contains(&r.asset)).collect();
    let Some(victim) = draws.one_of(&asked) else { return Ok(None) };
    let own: Vec<_> = before.iter().filter(|(_, s)| s.assets.contains(&victim.asset)).collect();
    let asset = victim.asset.clone();
    let damage = match damage(questions, victim) {
        Ok(damage) => damage.to_owned(),
        Err(error) => {
            let (damage, outcome) = ("none could be done".to_owned(), Outcome::CouldNotVerify);
            return Ok(Some(NegativeControl { asset, damage, outcome, message: explain(&error) }));
        }
    };
    let mut after = Vec::new();
    for (check, _) in own {
        after.push(questions.ask(check)?);
    }
    let (outcome, message) = judged(&after);
    Ok(Some(NegativeControl { asset, damage, outcome, message }))
}

/// Tells whether a damaged copy was noticed.
fn judged(after: &[TestedCheck]) -> (Outcome, String) {
    let of = |outcome: Outcome| after.iter().filter(move |check| check.result.outcome == outcome);
    let noticed: Vec<_> = of(Outcome::Failed).map(|check| check.result.name.as_str()).collect();
    if !noticed.is_empty() {
        return (Outcome::Passed, format!("noticed by {}", noticed.join(", ")));
    }
    if let Some(unknown) = of(Outcome::CouldNotVerify).next() {
        let message = format!("{}: {}", unknown.result.name, unknown.result.message);
        return (Outcome::CouldNotVerify, message);
    }
    let asked: Vec<_> = after.iter().map(|check| check.result.name.as_str()).collect();
    let message = format!(
        "the test passes on it, so that it proves nothing: asked were {}; add a check that needs data",
        asked.join(", ")
    );
    (Outcome::Failed, message)
}

fn damage(questions: &Questions<'_>, victim: &Restored) -> Result<&'static str, OpsError> {
    match &victim.what {
        What::Files(directory) => {
            empty(directory).map_err(|source| OpsError::Io {
                action: "empty",
                path: directory.clone(),
                source,
            })?;
            Ok("all of its files were removed")
        }
        What::Server(sandbox) => {
            let server = sandbox.server(sandbox.superuser(), &DatabaseName::new("postgres"))?;
            let runtime = &questions.site.surroundings().runtime;
            for database in runtime.block_on(server.databases())? {
                sandbox.remove_all_rows(&database)?;
            }
            Ok("all rows of its tables were removed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::verified::Shown;

    fn shown(shown: Shown) -> TestedCheck {
        TestedCheck { result: shown.named("check users", 1), assets: BTreeSet::new() }
    }

    #[test]
    fn a_test_that_passes_on_damage_is_worth_nothing() {
        let fails = || shown(Shown::failed("no rows"));
        let passes = || shown(Shown::passed("0 rows".to_owned()));
        let unknown = || shown(Shown::unknown("late"));
        for (after, outcome) in [
            (vec![fails(), passes()], Outcome::Passed),
            (vec![fails(), unknown()], Outcome::Passed),
            (vec![passes(), unknown()], Outcome::CouldNotVerify),
            (vec![passes(), passes()], Outcome::Failed),
        ] {
            assert_eq!(judged(&after).0, outcome, "{after:?}");
        }
    }
}
