//! The plan language from outside: what a person writes, and what they are told.

#[cfg(test)]
mod diagnostics;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod robustness;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod schema;
