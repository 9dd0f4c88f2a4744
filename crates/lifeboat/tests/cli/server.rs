//! A site with a tier on disk and one on a server behind SSH: what the server missed it gets, the disk goes, the
//! server gives back.

use std::fs;
use std::path::Path;

use lifeboat_testing::restic::Restic;
use lifeboat_testing::sshd::Sshd;

use crate::environment::Environment;

/// A home whose `ssh` knows the server.
fn home(server: &Sshd) -> Environment {
    Environment::new().with("PATH", server.path())
}

fn init(environment: &Environment, far: &str) {
    let near = format!("near={}", environment.path("near").display());
    let media = format!("media={}", environment.path("media").display());
    let far = format!("far={far}");
    let words = ["init", "--no-discovery", "--confirm-later", "--site", "shop"];
    let places = ["--tier", &near, "--tier", &far, "--asset-path", &media];
    environment.run(words.into_iter().chain(places)).success();
}

fn lags(environment: &Environment) -> Vec<i64> {
    let tiers = environment.run(["tiers", "--json"]).json();
    let tiers = tiers["tiers"].as_array().unwrap();
    tiers.iter().map(|tier| tier["assets"][0]["lag"]["points"].as_i64().unwrap()).collect()
}

/// Reads everything with stock restic, through its own way of speaking SFTP.
fn restic_finds_no_error(server: &Sshd, room: &Path, key: &str) {
    let repository = format!("sftp:{}@127.0.0.1:{}", server.user(), room.join("repo").display());
    let ssh = format!(
        "{} -p {} -l {} 127.0.0.1 -s sftp",
        server.programs().join("ssh").display(),
        server.address().port(),
        server.user()
    );
    let option = format!("sftp.command={ssh}");
    let checked = Restic::new(repository, key.trim())
        .run(["check", "--read-data", "--no-lock", "-o", &option])
        .unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("no errors were found"));
}

#[test]
fn a_server_gives_back_what_the_disk_lost() {
    let server = Sshd::start().unwrap();
    let room = server.room().unwrap();
    let far = server.url(&room);
    let environment = home(&server);
    environment.write("media/a", "first");
    init(&environment, &far);
    environment.run(["backup"]).success();
    assert_eq!(lags(&environment), [0, 0]);

    server.lock_out().unwrap();
    environment.write("media/a", "kept on a server");
    let ended = environment.run(["backup", "--json"]);
    assert_ne!(ended.code(), 0, "{ended}");
    let report = ended.json();
    let stages = report["assets"][0]["stages"].as_array().unwrap();
    let at = |tier: &str| stages.iter().find(|stage| stage["tier"] == tier).unwrap();
    assert_eq!(at("near")["ending"], "succeeded", "{ended}");
    let message = at("far")["message"].as_str().unwrap();
    assert!(message.contains(&far) && message.contains("the login was refused"), "{message}");

    server.let_in().unwrap();
    let mut behind = lags(&environment);
    behind.sort_unstable();
    assert_eq!(behind, [0, 1]);
    environment.run(["tiers", "catch-up", "far"]).success();
    assert_eq!(lags(&environment), [0, 0]);

    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    restic_finds_no_error(&server, &room, &key);
    let own = server.url(&room.join("repo"));
    let password = environment.write("password", key.trim());
    let password = password.display().to_string();
    let snapshots = ["repo", "snapshots", &own, "--password-file", &password, "--json"];
    let snapshots = environment.run(snapshots).json();
    assert_eq!(snapshots["snapshots"].as_array().unwrap().len(), 2, "{snapshots}");

    let bare = home(&server);
    let key = bare.write("key", key).display().to_string();
    let back = ["restore", "media", "--from", &far, "--key-file", &key, "--to", "out"];
    bare.run(back).success();
    let below = environment.path("media/a");
    let restored = bare.path("out").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored).unwrap(), "kept on a server");
}
