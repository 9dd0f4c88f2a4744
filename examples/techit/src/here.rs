//! What is said of a folder that stands for a machine, where the platform's plan and settings speak of a real one.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::clouds::{OFFSITE, SECONDARY};

/// What of the plan is not played: tools are missing for it.
pub const NOT_PLAYED: &str = "security-breach";

/// What differs from the real machine.
#[derive(Debug)]
pub struct Here<'a> {
    /// The folder that stands for the root of the machine.
    pub host: PathBuf,
    /// The folder around it, which no disaster of the machine reaches.
    pub away: &'a Path,
    /// Where customers come.
    pub port: u16,
    /// The ports of what stands for the mail host, and for all other services of others.
    pub sinks: (u16, u16),
    /// Who runs the platform.
    pub login: &'a str,
    /// The plan's `[key]` table.
    pub key: &'a str,
    /// When its people went through the plan.
    pub today: Date,
}

impl Here<'_> {
    /// Says of this machine what a file of the plan says of the real one.
    pub fn plan(&self, text: &str) -> String {
        let (host, away, port) = (self.host.display(), self.away.display(), self.port);
        let (mails, others) = self.sinks;
        let pairs = [
            ("[key]\nfile = \"/etc/lifeboat/recovery.key\"", self.key.trim_end().to_owned()),
            // Clouds are servers on this machine. Nothing is locked there, and nothing grows cold.
            ("s3://techit-backups", SECONDARY.to_owned()),
            ("lock = \"30d\"\n", String::new()),
            ("azure://account/techit-offsite", OFFSITE.to_owned()),
            ("access = \"cold\"\n", String::new()),
            // The disk is lost with the machine: what was confirmed has to be on the second tier too.
            ("ack = [\"primary\"]", "ack = [\"primary\", \"secondary\"]".to_owned()),
            // Places.
            ("host=/var/run/postgresql", format!("host={host}/run/postgresql user=postgres")),
            ("pg_dump ", format!("pg_dump --host={host}/run/postgresql --username=postgres ")),
            ("psql ", format!("psql --host={host}/run/postgresql --username=postgres ")),
            ("/var/lib/postgresql/main", format!("{host}/var/lib/postgresql/main")),
            ("/srv/techit-solutions", format!("{host}/srv/techit-solutions")),
            ("/var/www/techit_solutions", format!("{host}/var/www/techit_solutions")),
            ("/var/log/techit", format!("{host}/var/log/techit")),
            ("/var/backups/", format!("{host}/var/backups/")),
            ("/etc/nginx", format!("{host}/etc/nginx")),
            ("paths = [\"/\"]", format!("paths = [\"{host}\"]")),
            ("\"/run\"", format!("\"{host}/run\"")),
            ("\"/var/backups\"", format!("\"{host}/var/backups\"")),
            ("\"/var/lib/postgresql\"", format!("\"{host}/var/lib/postgresql\"")),
            // What stands for others in a drill, at the ports by which this machine calls them.
            (
                "sinks = [\"smtp://mail.example.org:587\", \"http://hooks.example.org\"]",
                format!("sinks = [\"smtp://127.0.0.1:{mails}\", \"http://127.0.0.1:{others}\"]"),
            ),
            // Ports, and a name that leads here.
            ("http://localhost/", format!("http://127.0.0.1:{port}/")),
            ("http://{{ target.host }}/", format!("http://{{{{ target.host }}}}:{port}/")),
            ("{{ target.host }}:443", format!("{{{{ target.host }}}}:{port}")),
            ("dns = \"www.example.org\"", "dns = \"localhost\"".to_owned()),
            // A machine with other work needs its time.
            ("within = \"500ms\"", "within = \"20s\"".to_owned()),
            ("login = \"alice\"", format!("login = \"{}\"", self.login)),
            // What this machine has is what `dev/install-needs` brought.
            (
                "apt-get update && apt-get install -y python3 python3-pip postgresql nginx redis-server",
                "python --version && nginx -v && redis-server --version".to_owned(),
            ),
            ("git rev-parse HEAD", "echo 0123abcd".to_owned()),
            ("updated = 2025-10-24", format!("updated = {}", self.today)),
            (
                "smtp = \"smtps://mail.example.org\"\nfrom = \"lifeboat@example.org\"",
                format!("command = \"cat >> {away}/told\""),
            ),
        ];
        let text = without_section(text, &format!("[scenarios.{NOT_PLAYED}]"));
        pairs.iter().fold(text, |text, (there, here)| text.replace(there, here))
    }

    /// Writes the platform's settings.
    pub fn settings(&self) -> String {
        let (mail, others) = self.sinks;
        let (host, port) = (self.host.display(), self.port);
        let lines = [
            ("SECRET_KEY", "once-upon-a-time".to_owned()),
            ("DATABASE_NAME", "techit_db".to_owned()),
            ("DATABASE_USER", "techit_app".to_owned()),
            ("DATABASE_HOST", format!("{host}/run/postgresql")),
            ("POSTGRES_DATA", format!("{host}/var/lib/postgresql/main")),
            ("REDIS_DATA", format!("{host}/var/lib/redis")),
            ("REDIS_SOCKET", format!("{host}/run/techit/redis.sock")),
            ("RUN", format!("{host}/run/techit")),
            ("LOGS", format!("{host}/var/log/techit")),
            ("NGINX_CONF", format!("{host}/etc/nginx/nginx.conf")),
            ("MEDIA_ROOT", format!("{host}/var/www/techit_solutions/media")),
            ("STATIC_ROOT", format!("{host}/var/www/techit_solutions/static")),
            ("HTTP_PORT", port.to_string()),
            ("PUBLIC_URL", format!("http://127.0.0.1:{port}")),
            ("EMAIL_HOST", "127.0.0.1".to_owned()),
            ("EMAIL_PORT", mail.to_string()),
            ("WEBHOOK_URL", format!("http://127.0.0.1:{others}/hook")),
            ("ARCHIVE_URL", format!("http://127.0.0.1:{others}/archive")),
            ("MONITORING_URL", format!("http://127.0.0.1:{others}/alive")),
            ("PROBE_PASSWORD", "open-sesame".to_owned()),
        ];
        lines.map(|(key, value)| format!("{key}={value}\n")).concat()
    }
}

/// Leaves a table of a plan out, up to the next empty line.
fn without_section(text: &str, heading: &str) -> String {
    let Some((before, after)) = text.split_once(heading) else { return text.to_owned() };
    let rest = after.split_once("\n\n").map_or("", |(_, rest)| rest);
    format!("{before}{rest}")
}
