//! The real binary in surroundings of its own; few tests, since what the libraries do is tested there.

#![cfg(test)]

mod book;
mod bootstrap;
mod bucket;
mod capture;
mod cold;
mod container;
mod daemon;
mod damage;
mod debian;
mod environment;
mod evidence;
mod hints;
mod inspect;
mod journey;
mod keep;
mod ledger;
mod locked;
mod ownership;
mod plan;
mod platform;
mod program;
mod quiet;
mod recover;
mod recovery;
mod repo;
mod restore_test;
mod retention;
mod sandbox;
mod scenarios;
mod selection;
mod server;
mod service;
mod setup;
mod sink;
mod streams;
mod succession;
mod targets;
mod terminal;
mod tiers;
mod traces;
mod trouble;
mod verified;
mod wal;
mod weather;
