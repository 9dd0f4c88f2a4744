//! Tables and indexes, looked through by the server's own extension `amcheck`.
//!
//! Every B-tree is held against its table in both directions (`bt_index_parent_check` with `heapallindexed` and
//! `rootdescend`), and every table, with what is stored beside it, is looked through by `verify_heapam`, since 14.
//! That is what `pg_amcheck --heapallindexed --rootdescend` does; its program is not needed. The extension is made in
//! the database where it lacks, and prepared transactions, which nobody is going to decide there, are given up, since
//! they keep their locks; so the server has to be one that is thrown away.
//!
//! # Limits
//!
//! At most [`MESSAGES_MAX`] messages of one relation are kept. Other kinds of indexes are not looked at.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use lifeboat_model::Cancel;

use super::sql::says_nothing;
use crate::error::PostgresError;
use crate::name::{DatabaseName, quote_identifier, quote_literal};
use crate::server::Server;
use crate::session::Session;

/// How many messages of one relation are kept.
pub const MESSAGES_MAX: usize = 5;

/// How many sessions look at the same time.
const SESSIONS: usize = 2;

/// How long a relation may be locked by somebody else before it cannot be looked at.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The major version from which on tables are looked through.
const TABLES_SINCE: u32 = 14;

/// What is wrong with a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationFinding {
    /// The relation, as SQL writes its name.
    pub relation: String,
    /// The server's words.
    pub message: String,
}

/// What was looked at and found in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmcheckReport {
    /// How many tables.
    pub tables: u64,
    /// How many indexes.
    pub indexes: u64,
    /// What is wrong.
    pub findings: Vec<RelationFinding>,
}

impl AmcheckReport {
    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: Self) {
        self.tables += other.tables;
        self.indexes += other.indexes;
        self.findings.extend(other.findings);
    }
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Table,
    Index,
}

struct Relation {
    oid: u32,
    name: String,
    sort: Sort,
}

/// Looks through all of a database.
///
/// # Errors
///
/// Where the extension cannot be had, or the server stops answering; what is wrong with a relation is a finding.
pub async fn look_through(
    server: &Server,
    database: &DatabaseName,
    cancel: &Cancel,
) -> Result<AmcheckReport, PostgresError> {
    let first = server.session(database).await?;
    give_up_prepared(&first).await?;
    let schema = install(&first).await?;
    let relations = relations(&first, server.version().major()).await?;
    let mut report = AmcheckReport::default();
    for relation in &relations {
        match relation.sort {
            Sort::Table => report.tables += 1,
            Sort::Index => report.indexes += 1,
        }
    }
    let queue = Mutex::new(VecDeque::from(relations));
    let mut sessions = vec![first];
    for _ in 1..SESSIONS {
        let session = server.session(database).await?;
        give_up_prepared(&session).await?;
        sessions.push(session);
    }
    let work = sessions.iter().map(|session| work_off(session, &schema, &queue, cancel));
    report.findings = try_join_all(work).await?.concat();
    report.findings.sort_by(|a, b| a.relation.cmp(&b.relation));
    Ok(report)
}

/// Gives prepared transactions up: a table that one of them wrote to cannot be locked against writing.
async fn give_up_prepared(session: &Session) -> Result<(), PostgresError> {
    const PREPARED: &str = "
        SELECT gid FROM pg_catalog.pg_prepared_xacts
        WHERE database = pg_catalog.current_database()";
    let rows = session.client().query(PREPARED, &[]).await;
    let rows =
        rows.map_err(|source| session.failed("list prepared transactions".to_owned(), source))?;
    for row in rows {
        let sql = format!("ROLLBACK PREPARED {}", quote_literal(row.get(0)));
        session.run(&sql, || "give up a prepared transaction".to_owned()).await?;
    }
    let limit = format!("SET lock_timeout = {}", LOCK_WAIT.as_millis());
    session.run(&limit, || "set up the connection".to_owned()).await
}

/// Makes the extension where it lacks; returns its schema as SQL writes it.
async fn install(session: &Session) -> Result<String, PostgresError> {
    const WHERE: &str = "
        SELECT n.nspname::text FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'";
    let create = "CREATE EXTENSION IF NOT EXISTS amcheck WITH SCHEMA pg_catalog";
    session.run(create, || "make the extension `amcheck`".to_owned()).await?;
    let row = session.client().query_one(WHERE, &[]).await;
    let row = row.map_err(|source| session.failed("find `amcheck`".to_owned(), source))?;
    Ok(quote_identifier(row.get(0)))
}

/// Lists what can be looked through, the largest first, so that the last ones to be done are short.
async fn relations(session: &Session, major: u32) -> Result<Vec<Relation>, PostgresError> {
    const LIST: &str = "
        SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), a.amname = 'heap'
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_am a ON a.oid = c.relam
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        WHERE c.relpersistence <> 't'
          AND (c.relkind IN ('r', 'm', 't') AND a.amname = 'heap'
               OR c.relkind = 'i' AND a.amname = 'btree' AND i.indisready AND i.indisvalid)
        ORDER BY c.relpages DESC, c.oid";
    let rows = session.client().query(LIST, &[]).await;
    let rows = rows.map_err(|source| session.failed("list its relations".to_owned(), source))?;
    let relation = |row: &tokio_postgres::Row| Relation {
        oid: row.get(0),
        name: row.get(1),
        sort: if row.get(2) { Sort::Table } else { Sort::Index },
    };
    let can = |relation: &Relation| relation.sort == Sort::Index || major >= TABLES_SINCE;
    Ok(rows.iter().map(relation).filter(can).collect())
}

/// Looks through one relation after the other, until none is left.
async fn work_off(
    session: &Session,
    schema: &str,
    queue: &Mutex<VecDeque<Relation>>,
    cancel: &Cancel,
) -> Result<Vec<RelationFinding>, PostgresError> {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut findings = Vec::new();
    while let Some(relation) = next().filter(|_| !cancel.is_cancelled()) {
        let messages = look_at(session, schema, &relation).await?;
        findings.extend(
            messages
                .into_iter()
                .take(MESSAGES_MAX)
                .map(|message| RelationFinding { relation: relation.name.clone(), message }),
        );
    }
    Ok(findings)
}

async fn look_at(
    session: &Session,
    schema: &str,
    relation: &Relation,
) -> Result<Vec<String>, PostgresError> {
    let oid = relation.oid;
    let sql = match relation.sort {
        Sort::Index => format!(
            "SELECT NULL::bigint, ''::text
             FROM (SELECT {schema}.bt_index_parent_check({oid}::pg_catalog.oid::pg_catalog.regclass, true, true)) AS done"
        ),
        Sort::Table => format!(
            "SELECT blkno, msg FROM {schema}.verify_heapam({oid}::pg_catalog.oid::pg_catalog.regclass, false, true)
             LIMIT {MESSAGES_MAX}"
        ),
    };
    match session.client().query(&sql, &[]).await {
        Ok(rows) => Ok(rows
            .iter()
            .filter_map(|row| {
                let block = row.get::<_, Option<i64>>(0)?;
                Some(format!("page {block}: {}", row.get::<_, String>(1)))
            })
            .collect()),
        Err(source) => match source.as_db_error() {
            Some(said) if !says_nothing(said.code()) => Ok(vec![said.message().to_owned()]),
            _ => Err(session.failed(format!("look through {}", relation.name), source)),
        },
    }
}
