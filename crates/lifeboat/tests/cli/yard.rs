//! Somebody inside of a yard tries to reach the host: each try is refused, or changes nothing there.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_postgres::enclosure::Errand;
use lifeboat_postgres::yard::{Ground, KeeperAccess, KeeperView, Yard};
use nix::unistd::Uid;

use crate::ownership::write;

/// What somebody tries who runs as root inside.
const TRIES: &str = r#"
import ctypes, errno, os, socket, stat, sys
production, port, process, abstract = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)
def connect(address):
    socket.socket(socket.AF_UNIX).connect(address)
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
tries = {
    "socket": lambda: connect(production + "/server.sock"),
    "abstract": lambda: connect("\0" + abstract),
    "port": lambda: socket.create_connection(("127.0.0.1", int(port)), 5),
    "internet": lambda: socket.create_connection(("192.0.2.1", 80), 5),
    "name": lambda: socket.getaddrinfo("www.example.org", 80),
    "kill": lambda: os.kill(int(process), 9),
    "trace": lambda: call("ptrace", 16, int(process), 0, 0),
    "memory": lambda: open("/proc/" + process + "/mem", "rb"),
    "disk": lambda: os.mknod("/tmp/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0)),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "network": lambda: call("unshare", 0x40000000),
    "first": lambda: call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0),
    "kernel": lambda: write("/proc/sys/kernel/core_pattern", "|/tmp/out"),
    "sysrq": lambda: write("/proc/sysrq-trigger", "b"),
    "settings": lambda: os.utime("/proc/sys/kernel/hostname"),
    "keeper": lambda: os.listdir("/.lifeboat-keeper") or call("close", -1),
    "hidden": lambda: open(production + "/hidden/secret"),
    "write": lambda: write(production + "/data", "ruined"),
    "remove": lambda: os.remove(production + "/kept"),
    "loopback": lambda: socket.create_server(("127.0.0.1", int(port))),
}
for name, deed in tries.items():
    try:
        deed()
        print(name, "works")
    except OSError as error:
        print(name, "refused", errno.errorcode.get(error.errno, error.errno))
print("processes", sum(name.isdigit() for name in os.listdir("/proc")))
print("read", open(production + "/data").read())
"#;

/// Runs the tries inside, and writes down what came of them where only the keeper may.
const KEEPER: &str =
    r#""$0" yard:join "$6" - python3 -c "$TRIES" "$1" "$2" "$3" "$4" >"$5/said" 2>"$5/errors""#;

struct Production {
    folder: tempfile::TempDir,
    server: UnixListener,
    hidden: UnixListener,
    port: TcpListener,
    process: std::process::Child,
}

impl Production {
    fn new() -> Self {
        // Not below a directory that begins empty in a yard, as this tree itself may be.
        let is_root = Uid::effective().is_root();
        let below = if is_root { "/var/lib" } else { env!("CARGO_TARGET_TMPDIR") };
        let folder = tempfile::tempdir_in(below).unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("hidden")).unwrap();
        fs::create_dir_all(at("out")).unwrap();
        for name in ["data", "kept", "hidden/secret"] {
            write(&at(name), "precious", 0o644);
        }
        let server = UnixListener::bind(at("server.sock")).unwrap();
        let name = at("abstract").display().to_string();
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let hidden = UnixListener::bind_addr(&address).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        Self { folder, server, hidden, port, process }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ground(&self, place: &Path) -> Ground {
        let own_program = PathBuf::from(env!("CARGO_BIN_EXE_lifeboat"));
        let text = |path: &Path| path.display().to_string();
        let arguments = vec![
            "-c".to_owned(),
            KEEPER.to_owned(),
            text(&own_program),
            text(self.folder.path()),
            self.port.local_addr().unwrap().port().to_string(),
            self.process.id().to_string(),
            text(&self.at("abstract")),
            text(&self.at("out")),
        ];
        let view = |path: PathBuf, access| KeeperView { from: path.clone(), at: path, access };
        Ground {
            own_program,
            place: place.to_owned(),
            absent: vec![self.at("hidden")],
            keeper_sees: vec![
                view(self.at("out"), KeeperAccess::Write),
                view(self.at("hidden"), KeeperAccess::Read),
            ],
            names: Vec::new(),
            keeper: Errand { program: "/bin/sh".into(), arguments },
            environment: vec![("TRIES".to_owned(), TRIES.to_owned())],
        }
    }

    /// Asserts that nobody came and nothing was changed.
    fn assert_untouched(&mut self) {
        self.server.set_nonblocking(true).unwrap();
        self.hidden.set_nonblocking(true).unwrap();
        self.port.set_nonblocking(true).unwrap();
        let nobody = |error: Option<std::io::Error>| error.map(|error| error.kind());
        assert_eq!(nobody(self.server.accept().err()), Some(ErrorKind::WouldBlock));
        assert_eq!(nobody(self.hidden.accept().err()), Some(ErrorKind::WouldBlock));
        assert_eq!(nobody(self.port.accept().err()), Some(ErrorKind::WouldBlock));
        assert!(self.process.try_wait().unwrap().is_none(), "it lives");
        for name in ["data", "kept", "hidden/secret"] {
            assert_eq!(fs::read_to_string(self.at(name)).unwrap(), "precious", "{name}");
        }
    }
}

impl Drop for Production {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn whoever_is_inside_of_a_yard_reaches_nothing_of_the_host() {
    let mut production = Production::new();
    // Below what is covered, so that directories are made anew on the way.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = home.path().join("place");
    fs::create_dir(&place).unwrap();
    let log = home.path().join("log");
    let opened = Yard::open(&production.ground(&place), File::create(&log).unwrap());
    if !Uid::effective().is_root() {
        let refused = opened.unwrap_err().to_string();
        assert!(refused.contains("as anybody but root"), "{refused}");
        return;
    }
    let mut yard = opened.unwrap();
    let ended = yard.wait().unwrap();
    let said = fs::read_to_string(production.at("out/said")).unwrap_or_default();
    let errors = fs::read_to_string(production.at("out/errors")).unwrap_or_default();
    let log = fs::read_to_string(&log).unwrap();
    assert!(ended.success(), "{ended}: {said}\n{errors}\n{log}");
    let outcome = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {said}\n{errors}")).to_owned()
    };
    for name in [
        "socket", "abstract", "port", "internet", "name", "kill", "trace", "memory", "disk",
        "mount", "network", "first", "kernel", "sysrq", "settings", "keeper", "hidden",
    ] {
        assert!(outcome(name).starts_with(&format!("{name} refused")), "{said}");
    }
    // What can be done is done to the yard alone.
    for name in ["write", "remove", "loopback"] {
        assert_eq!(outcome(name), format!("{name} works"));
    }
    assert_eq!(outcome("read"), "read ruined");
    // Its own, the shell's that started it is elsewhere, and the one that holds the inside open.
    assert_eq!(outcome("processes"), "processes 2");
    production.assert_untouched();
    drop(yard);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&place.display().to_string()), "{mounts}");
}
