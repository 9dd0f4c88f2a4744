//! The unit under a real systemd: in a machine made of namespaces, in which that is the first process, `lifeboat install` writes
//! the unit, and the daemon starts, keeps the watchdog quiet, works, reloads and stops.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

use crate::ownership::write;

/// How long such a machine may take to boot.
const BOOTED_WITHIN: Duration = Duration::from_mins(1);

/// How often systemd is asked until something has come about that takes seconds.
const ASKED_MAX: u32 = 2000;

/// What keeps a machine from having a real one's time: the unit's own has minutes.
const DROP_IN: &str = "[Service]\nWatchdogSec=5s\nRestartSec=0\n";

/// Leaves the host: a cgroup of its own, and then all namespaces.
const LEAVE: &str = r#"
set -e
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
mkdir -p "/mnt/$3"
echo $$ > "/mnt/$3/cgroup.procs"
umount /mnt
exec unshare --pid --fork --kill-child --mount --ipc --uts --cgroup --net bash -c "$4" boot "$1" "$2"
"#;

/// Builds a root from the host's programs with an `/etc` and a `/var` of its own, and becomes systemd.
const BOOT: &str = r#"
set -e
root=$1
mount --bind "$root" "$root"
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/upper /mnt/work "$root"/{usr,proc,sys,dev,run,tmp,old,root,var/lib,var/log,var/cache,var/tmp}
mount -t overlay overlay -o lowerdir=/usr,upperdir=/mnt/upper,workdir=/mnt/work "$root/usr"
touch "$root/usr/bin/lifeboat"
mount --bind "$2" "$root/usr/bin/lifeboat"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
ln -s /run "$root/var/run"
cp /etc/passwd /etc/group /etc/ld.so.cache /etc/nsswitch.conf "$root/etc"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
cd "$root"
pivot_root . old
umount -l /old
exec env -i container=lifeboat-test PATH=/usr/bin:/bin NOTIFY_SOCKET=/host/notify \
  /usr/lib/systemd/systemd --system --unit=basic.target --log-target=null --show-status=no
"#;

/// Makes what is backed up, and a server among it.
const FURNISH: &str = r#"
set -e
bin=$(echo /usr/lib/postgresql/*/bin | cut -d ' ' -f 1)
mkdir -p /srv/media /srv/data /run/database /etc/lifeboat
echo picture > /srv/media/a.png
chown postgres: /srv/data /run/database
cd /
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups -- "$@"; }
as_postgres "$bin/initdb" -D /srv/data -A trust >/dev/null
as_postgres "$bin/pg_ctl" -D /srv/data -o "-k /run/database -h ''" -w -l /srv/data/log start >/dev/null
as_postgres psql -h /run/database -qc "CREATE TABLE people AS SELECT 'a.png' AS avatar" postgres
cd /etc/lifeboat
lifeboat init --no-discovery --confirm-later --site shop --tier primary=/var/backups/first \
  --asset-path media=/srv/media
cat >> plan.toml <<'PLAN'
[assets.database]
kind = "postgres"
connect = "host=/run/database user=postgres dbname=postgres"
base = "logical"
[schedules.hourly]
cron = "0 * * * *"
assets = ["database"]
to = ["primary"]
[checks.avatars]
sql = "SELECT avatar FROM people"
files_in = "media"
[restore_tests.weekly]
cron = "0 5 * * SUN"
assets = ["database", "media"]
checks = ["avatars"]
PLAN
"#;

/// A machine that runs. All of it ends when this is dropped.
struct Machine {
    first: Child,
    cgroup: String,
    /// Systemd, as the host numbers it.
    pid: String,
    _home: TempDir,
}

impl Machine {
    /// Boots one, as only root can.
    fn boot() -> Self {
        let home = TempDir::new_in("/var/tmp").unwrap();
        let root = home.path().join("root");
        for folder in ["host", "etc/systemd/system/lifeboat.service.d"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let at = |name: &str| root.join(name);
        write(&at("etc/machine-id"), "0123456789abcdef0123456789abcdef\n", 0o644);
        write(&at("etc/os-release"), "ID=test\n", 0o644);
        write(&at("etc/systemd/system/lifeboat.service.d/time.conf"), DROP_IN, 0o644);
        // Devices are the host's.
        for unit in ["systemd-udevd.service", "systemd-udev-trigger.service"] {
            let masked = at("etc/systemd/system").join(unit);
            std::os::unix::fs::symlink("/dev/null", masked).unwrap();
        }
        let word = UnixDatagram::bind(at("host/notify")).unwrap();
        word.set_read_timeout(Some(BOOTED_WITHIN)).unwrap();
        let cgroup = format!("lifeboat-test-{}", std::process::id());
        let said = File::create(home.path().join("said")).unwrap();
        // It ends with the test, however that ends.
        let mut first = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "bash", "-c", LEAVE, "leave"])
            .args([root.as_path(), Path::new(env!("CARGO_BIN_EXE_lifeboat"))])
            .args([&cgroup, BOOT])
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        let is_up = hears_ready(&word);
        let pid = first_process(&first);
        if !is_up {
            end(&mut first, &pid, &cgroup);
            panic!("it does not boot: {}", fs::read_to_string(home.path().join("said")).unwrap());
        }
        Self { first, cgroup, pid, _home: home }
    }

    fn run(&self, command: &[&str]) -> Output {
        let mut all = Command::new("nsenter");
        all.args(["--target", &self.pid, "--all", "env", "-i", "PATH=/usr/bin:/bin", "HOME=/root"]);
        all.args(command).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs what has to succeed; returns what it said.
    #[track_caller]
    fn done(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let said = text_of(&output);
        assert!(output.status.success(), "{command:?}: {said}\n{}", self.journal());
        said
    }

    fn lifeboat(&self, arguments: &[&str]) -> String {
        self.done(&[&["lifeboat", "--plan", "/etc/lifeboat/plan.toml"], arguments].concat())
    }

    fn journal(&self) -> String {
        text_of(&self.run(&["journalctl", "--unit=lifeboat", "--no-pager", "--output=cat"]))
    }

    /// Tells what systemd knows of the unit.
    fn property(&self, name: &str) -> String {
        self.done(&["systemctl", "show", "lifeboat", "--value", "-p", name]).trim().to_owned()
    }

    fn wait_until(&self, name: &str, is_wanted: impl Fn(&str) -> bool) {
        let mut asked = (0..ASKED_MAX).map(|_| self.property(name));
        let is_so = asked.any(|value| is_wanted(&value));
        assert!(is_so, "{name} stays {}:\n{}", self.property(name), self.journal());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.first, &self.pid, &self.cgroup);
    }
}

/// Returns the first process inside, as the host numbers it; none if it did not come so far.
fn first_process(first: &Child) -> String {
    let children = format!("/proc/{0}/task/{0}/children", first.id());
    fs::read_to_string(children).unwrap_or_default().trim().to_owned()
}

/// Ends all of a machine: with the first process the kernel ends all others, and who began it ends when they are gone.
fn end(first: &mut Child, pid: &str, cgroup: &str) {
    match pid.parse() {
        Ok(pid) => _ = kill(Pid::from_raw(pid), Signal::SIGKILL),
        Err(_) => _ = first.kill(),
    }
    _ = first.wait();
    // The cgroups are no files; they are removed from the innermost one on, once nobody is in them.
    let script = "mount --make-rprivate / && mount -t cgroup2 cgroup2 /mnt && find /mnt/$1 -depth -type d -exec rmdir {} +";
    _ = Command::new("unshare").args(["--mount", "bash", "-c", script, "tidy", cgroup]).output();
}

/// Waits for systemd's word that all of it is up.
fn hears_ready(word: &UnixDatagram) -> bool {
    let mut text = [0; 4096];
    while let Ok(length) = word.recv(&mut text) {
        if String::from_utf8_lossy(&text[..length]).contains("READY=1") {
            return true;
        }
    }
    false
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn as_root_systemd_starts_the_service_watches_it_reloads_it_and_stops_it() {
    assert!(Uid::effective().is_root(), "only root can boot a machine");
    let machine = Machine::boot();
    machine.done(&["bash", "-c", FURNISH]);
    machine.done(&["lifeboat", "install"]);
    machine.done(&["systemd-tmpfiles", "--create", "lifeboat.conf"]);
    machine.done(&["systemctl", "daemon-reload"]);

    // `start` comes back once the daemon said that it is ready.
    machine.done(&["systemctl", "enable", "--now", "lifeboat"]);
    assert_eq!(machine.property("StatusText"), "waiting");
    let kept = machine.property("WatchdogTimestampMonotonic");
    machine.wait_until("WatchdogTimestampMonotonic", |now| now != kept);
    assert_eq!(machine.property("NRestarts"), "0");

    // Within the unit's walls it backs up, and builds others for what it restores.
    let backup = machine.lifeboat(&["backup"]);
    assert!(backup.contains("the daemon does it"), "{backup}");
    machine.lifeboat(&["jobs", "run", "restore-test:weekly", "--wait"]);
    let points = machine.lifeboat(&["points", "--json"]);
    assert!(points.contains("\"proven\""), "{points}");
    let proof = machine.lifeboat(&["evidence", "show"]);
    assert!(proof.contains("a network namespace of its own"), "{proof}");

    machine.done(&["systemctl", "reload", "lifeboat"]);
    machine.done(&[
        "sh",
        "-c",
        "cp /etc/lifeboat/plan.toml /root && echo '[broken' >> /etc/lifeboat/plan.toml",
    ]);
    assert!(!machine.run(&["systemctl", "reload", "lifeboat"]).status.success());
    assert_eq!(machine.property("ActiveState"), "active", "the plan before stays in force");
    machine.done(&["cp", "/root/plan.toml", "/etc/lifeboat/plan.toml"]);

    // One that hangs is ended, and begins anew.
    let main = machine.property("MainPID");
    machine.done(&["sh", "-c", &format!("kill -STOP {main}")]);
    machine.wait_until("NRestarts", |count| count == "1");
    machine.wait_until("ActiveState", |state| state == "active");

    let journal = machine.journal();
    assert!(!journal.contains("No dead man's switch"), "there is none to tell: {journal}");
    machine.done(&["systemctl", "stop", "lifeboat"]);
    assert_eq!(machine.property("Result"), "success", "{}", machine.journal());
    assert_eq!(machine.property("ExecMainStatus"), "0");
    assert!(machine.run(&["test", "-e", "/run/lifeboat/lifeboat.sock"]).status.code() == Some(1));
    machine.done(&["lifeboat", "uninstall"]);
    machine.done(&["systemctl", "daemon-reload"]);
    assert_eq!(machine.property("LoadState"), "not-found");
}
