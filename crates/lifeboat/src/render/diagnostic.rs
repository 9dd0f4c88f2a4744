//! What is wrong with a plan: the line, a caret and a fix for a person, a list for a program.

use lifeboat_plan::{Colour, Diagnostic};

use super::Paint;

/// Writes a diagnostic for a person.
pub fn text(diagnostic: &Diagnostic, paint: Paint) -> String {
    diagnostic.render(match paint {
        Paint::Plain => Colour::Never,
        Paint::Coloured => Colour::Always,
    })
}
