//! The platform on one machine: a private PostgreSQL, uploads, settings, certificates, logs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_testing::interrupt::Interrupt;
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums};

use crate::failure::{DemoError, file};
use crate::files::{self, Look};
use crate::folder::Folder;
use crate::media;
use crate::schema::{self, APPLICATION, DATABASE};

/// How often the server is asked whether its log is archived: for a minute.
const ARCHIVE_LOOKS_MAX: u32 = 1200;

/// The running platform; its server stops when it is dropped.
#[derive(Debug)]
pub struct Platform {
    cluster: Cluster,
}

impl Platform {
    /// Makes the database server, empty.
    pub fn start(folder: &Folder) -> Result<Self, DemoError> {
        let options = ClusterOptions::default()
            .data(folder.postgres())
            .checksums(PageChecksums::On)
            .setting("full_page_writes", "on");
        Ok(Self { cluster: Cluster::start_with(&options)? })
    }

    /// Returns the database server.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns the database server, to do it harm.
    pub const fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Fills the database.
    pub fn fill_database(&self) -> Result<(), DemoError> {
        self.cluster.psql("postgres", schema::ROLE)?;
        self.cluster.create_database(DATABASE)?;
        self.cluster.psql(DATABASE, schema::PLATFORM)?;
        Ok(())
    }

    /// Lets nothing of the log wait for longer than two seconds, as a platform does whose every order counts.
    pub fn archive_every_two_seconds(&self) -> Result<(), DemoError> {
        self.work("ALTER SYSTEM SET archive_timeout = '2s'")?;
        self.work("SELECT pg_reload_conf()")
    }

    /// Waits until all that was committed so far is archived, which the server sees to by itself.
    pub fn wait_for_archive(&self) -> Result<(), DemoError> {
        let written =
            self.cluster.psql(DATABASE, "SELECT pg_walfile_name(pg_current_wal_lsn())")?;
        let sql = format!(
            "SELECT pg_sleep(0.05), coalesce(last_archived_wal >= '{written}', false) FROM pg_stat_archiver"
        );
        for _ in 0..ARCHIVE_LOOKS_MAX {
            if self.cluster.psql(DATABASE, &sql)?.ends_with("|t") {
                return Ok(());
            }
        }
        Err(DemoError::NotProven { what: format!("the server did not archive {written}") })
    }

    /// Returns the server's time once a second has passed since `instant`, as it writes one.
    pub fn a_second_after(&self, instant: Timestamp) -> Result<Timestamp, DemoError> {
        let sql = format!(
            "SELECT pg_sleep(greatest(0, extract(epoch FROM timestamptz '{instant}' + '1.1 s' - clock_timestamp())));
             SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        );
        let answer = self.cluster.psql(DATABASE, &sql)?;
        let text = answer.lines().last().unwrap_or_default();
        text.parse().map_err(|_| DemoError::NotProven {
            what: format!("PostgreSQL does not know the time: it answers `{answer}`"),
        })
    }

    /// Stops the server that lifeboat started, and starts it as a service manager would.
    pub fn take_over(&mut self) -> Result<(), DemoError> {
        let mut stop = self.cluster.command("pg_ctl");
        stop.args(["stop", "--wait", "--silent", "--pgdata"]).arg(self.cluster.data_dir());
        let status = stop.status();
        let status =
            status.map_err(|source| DemoError::System { action: "stop the server", source })?;
        if !status.success() {
            return Err(DemoError::NotProven {
                what: "the recovered server does not stop".to_owned(),
            });
        }
        Ok(self.cluster.start_again()?)
    }

    /// Runs statements as the platform would.
    pub fn work(&self, sql: &str) -> Result<(), DemoError> {
        self.cluster.psql(DATABASE, sql)?;
        Ok(())
    }

    /// Starts the application as far as it can be seen from outside: it reads its settings, connects as
    /// its own role, finds its users, and finds every picture that they have.
    pub fn open_the_doors(&self, folder: &Folder) -> Result<u64, DemoError> {
        let path = folder.settings();
        let settings = std::fs::read_to_string(&path).map_err(file("read", &path))?;
        let setting = |name: &str| {
            settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).ok_or_else(
                || DemoError::NotProven { what: format!("{} has no {name}", path.display()) },
            )
        };
        let (database, role) = (setting("DATABASE_NAME")?, setting("DATABASE_USER")?);
        let sql = format!(
            "SET ROLE {role}; SELECT avatar FROM users_customuser WHERE avatar <> '' ORDER BY id"
        );
        let pictures = self.cluster.psql(database, &sql)?;
        let root = Path::new(setting("MEDIA_ROOT")?);
        let mut found = 0;
        for picture in pictures.lines() {
            let path = root.join(picture);
            if !path.is_file() {
                let what = format!("a user has the picture {}, which is gone", path.display());
                return Err(DemoError::NotProven { what });
            }
            found += 1;
        }
        Ok(found)
    }
}

/// Writes uploads, settings, certificates and logs; returns how many uploads there are.
pub fn fill_files(folder: &Folder, interrupt: &Interrupt) -> Result<u32, DemoError> {
    let count = media::write(&folder.media(), interrupt)?;
    write_settings(folder, "first-secret")?;
    write_web_server(folder)?;
    write_certificates(&folder.certificates())?;
    write_logs(&folder.logs())?;
    Ok(count)
}

/// Writes the application's settings with a secret of its own.
pub fn write_settings(folder: &Folder, secret: &str) -> Result<(), DemoError> {
    let text = format!(
        "DEBUG=False\nSECRET_KEY={secret}\nDATABASE_NAME={DATABASE}\nDATABASE_USER={APPLICATION}\nMEDIA_ROOT={}\n",
        folder.media().display()
    );
    let look = Look { mode: 0o600, is_web: true, age: Duration::from_millis(1_234_567) };
    files::write(&folder.settings(), text.as_bytes(), look)
}

fn write_web_server(folder: &Folder) -> Result<(), DemoError> {
    let look = Look { mode: 0o644, is_web: false, age: Duration::from_hours(24) };
    let site = format!(
        "server {{\n    listen 443 ssl;\n    server_name techit.example;\n    location /media/ {{ alias {}/; }}\n}}\n",
        folder.media().display()
    );
    let nginx = folder.nginx();
    files::write(
        &nginx.join("nginx.conf"),
        b"events {}\nhttp { include sites-enabled/*; }\n",
        look,
    )?;
    files::write(&nginx.join("sites-available/techit"), site.as_bytes(), look)?;
    let enabled = nginx.join("sites-enabled");
    std::fs::create_dir_all(&enabled).map_err(file("make", &enabled))?;
    std::os::unix::fs::symlink("../sites-available/techit", enabled.join("techit"))
        .map_err(file("link", enabled))
}

fn write_certificates(certificates: &Path) -> Result<(), DemoError> {
    for (number, (name, mode)) in [("fullchain", 0o644), ("privkey", 0o600)].into_iter().enumerate()
    {
        let mut text = String::from("-----BEGIN DEMO-----\n");
        for line in 0..24 {
            let digits = format!("{:016x}", 0x9e37_79b9_7f4a_7c15_u64.rotate_left(line));
            writeln!(text, "{}", digits.repeat(4)).expect("a string takes whatever is written");
        }
        text.push_str("-----END DEMO-----\n");
        let age = Duration::from_secs(900_000 + number as u64);
        let look = Look { mode, is_web: false, age };
        let path = certificates.join("archive").join(format!("{name}1.pem"));
        files::write(&path, text.as_bytes(), look)?;
        let live = certificates.join("live");
        std::fs::create_dir_all(&live).map_err(file("make", &live))?;
        std::os::unix::fs::symlink(
            format!("../archive/{name}1.pem"),
            live.join(format!("{name}.pem")),
        )
        .map_err(file("link", &live))?;
    }
    Ok(())
}

fn write_logs(logs: &Path) -> Result<(), DemoError> {
    for day in 1..=7_u32 {
        let mut text = String::new();
        for request in 0..20_000_u32 {
            writeln!(
                text,
                "10.0.{}.{} - - [0{day}/Oct/2026:{:02}:{:02}:00] \"GET /orders/{} HTTP/1.1\" 200 {}",
                request % 256,
                day,
                request / 834,
                request % 60,
                request * day,
                request % 9_000
            )
            .expect("a string takes whatever is written");
        }
        let look =
            Look { mode: 0o640, is_web: true, age: Duration::from_hours(u64::from(day) * 24) };
        files::write(&logs.join(format!("access-{day}.log")), text.as_bytes(), look)?;
    }
    Ok(())
}
