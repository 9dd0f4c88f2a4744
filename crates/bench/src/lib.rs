//! Measures lifeboat beside restic, `cp` and what this machine's hardware allows.
//!
//! - [`corpus`] makes what is measured, from a seed; [`place`] is where it lies, in memory.
//! - [`ceiling`] times each stage of the work alone and adds the stages up to what could be.
//! - [`race`] lets the programs take turns; [`racer`] knows what to tell them, [`launch`] what they
//!   took, [`work`] what is wanted of lifeboat.
//! - [`scale`] does the same works on ever larger repositories and directories.
//! - [`postgres`] lets lifeboat race against pgBackRest: base backups, restores, the write-ahead log.
//! - [`s3`] lets it race against restic on a store of S3, near and far.
//! - [`restore_test`] looks at what a restore test takes beside the restore, [`idle`] at a daemon that has nothing to do;
//!   [`site`] is the small site of both.
//! - [`report`] writes it all down, [`chart`] draws it.
//!
//! Nothing here passes or fails on a time: a number is published with its machine and its spread, and
//! a person judges it.

pub mod ceiling;
pub mod chart;
pub mod corpus;
pub mod failure;
pub mod idle;
pub mod launch;
pub mod machine;
pub mod place;
pub mod postgres;
pub mod race;
pub mod racer;
pub mod report;
pub mod restore_test;
pub mod s3;
pub mod scale;
pub mod site;
pub mod work;
