//! The reference platform, as a command that the demo drives.

fn main() {}
