//! A server that follows another one.

use std::fs::File;
use std::io;
use std::os::unix::fs::chown;
use std::process::Command;

use super::{Cluster, make_private};
use crate::program::{self, ProgramError};

impl Cluster {
    /// Makes and starts a standby that this cluster's log is streamed to.
    ///
    /// It begins as a copy of the data, for which this cluster is stopped for a moment: of the newer server
    /// there is no program that copies a running one.
    pub fn start_standby(&mut self) -> Result<Self, ProgramError> {
        let fail = |source| ProgramError::Run { program: "a standby".to_owned(), source };
        self.stop()?;
        let directory = tempfile::Builder::new().prefix("lifeboat-pg-").tempdir_in("/tmp");
        let directory = directory.map_err(fail)?;
        for path in [directory.path(), &directory.path().join("socket")] {
            make_private(path, self.server_user.as_ref()).map_err(fail)?;
        }
        let data = directory.path().join("data");
        let mut copy = Command::new("cp");
        program::run(copy.arg("-a").arg(&self.data).arg(&data), b"")?;
        let mut standby = Self {
            bin: self.bin.clone(),
            clients: self.clients.clone(),
            data,
            port: self.port,
            server_user: self.server_user.clone(),
            options: self.options.clone(),
            lifeline: None,
            directory,
        };
        let primary = self.connect_string("postgres").replace(" dbname='postgres'", "");
        let options = std::mem::take(&mut standby.options);
        standby.options = options.setting("primary_conninfo", &primary);
        standby.append_settings().map_err(fail)?;
        standby.make_signal().map_err(fail)?;
        self.start_again()?;
        standby.start_again()?;
        Ok(standby)
    }

    fn make_signal(&self) -> io::Result<()> {
        let signal = self.data.join("standby.signal");
        File::create(&signal)?;
        match &self.server_user {
            Some(user) => chown(signal, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
            None => Ok(()),
        }
    }

    /// Waits until a standby has replayed all that its primary has written.
    pub fn catch_up_with(&self, primary: &Self) -> Result<(), ProgramError> {
        // Commits here are not waited for; a checkpoint writes out what they left.
        let written = primary.psql("postgres", "CHECKPOINT; SELECT pg_current_wal_flush_lsn()")?;
        let sql = format!("SELECT pg_sleep(0.02), pg_last_wal_replay_lsn() >= '{written}'::pg_lsn");
        while !self.psql("postgres", &sql)?.ends_with("|t") {}
        Ok(())
    }

    /// Makes a standby a primary, and waits until it is one.
    pub fn promote(&self) -> Result<(), ProgramError> {
        self.psql("postgres", "SELECT pg_promote()").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use crate::postgres::{Cluster, ClusterOptions, Release};

    #[test]
    fn a_standby_follows_and_takes_over() {
        for release in Release::ALL {
            let options = ClusterOptions::default().release(release);
            let mut primary = Cluster::start_with(&options).unwrap();
            let standby = primary.start_standby().unwrap();
            primary.psql("postgres", "CREATE TABLE t AS SELECT 42 AS n").unwrap();
            standby.catch_up_with(&primary).unwrap();
            assert_eq!(
                standby.psql("postgres", "SELECT n, pg_is_in_recovery() FROM t").unwrap(),
                "42|t"
            );
            standby.promote().unwrap();
            standby.psql("postgres", "INSERT INTO t VALUES (43)").unwrap();
            assert_eq!(primary.psql("postgres", "SELECT count(*) FROM t").unwrap(), "1");
        }
    }
}
