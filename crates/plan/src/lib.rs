//! The plan language: parse with spans, lint, resolve; pure.
