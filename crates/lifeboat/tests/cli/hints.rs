//! What to do next, as the errors of `lifeboat repo` tell it.

use crate::capture::Site;
use crate::environment::Environment;

#[test]
fn a_file_that_is_not_there_is_told_with_who_names_it() {
    let environment = Environment::new().with("RESTIC_PASSWORD", "correct horse");
    environment.run(["repo", "init", "repo"]).success();
    for (command, code, parts) in [
        (
            "check",
            2,
            &["[HOME]/lifeboat.toml", "/etc/lifeboat/plan.toml", "--plan FILE", "restore --from"][..],
        ),
        (
            "check --plan conf/shop.toml",
            2,
            &["[HOME]/conf/shop.toml, which `--plan` names", "--plan-to [HOME]/conf"],
        ),
        (
            "repo snapshots repo --password-file pw",
            1,
            &["[HOME]/pw, which `--password-file` names", "check the path"],
        ),
        (
            "repo copy repo --to repo --to-password-file pw",
            1,
            &["[HOME]/pw, which `--to-password-file` names"],
        ),
        (
            "repo key add repo --new-password-file pw",
            1,
            &["[HOME]/pw, which `--new-password-file` names"],
        ),
    ] {
        let told = environment.run(command.split(' ')).failure(code);
        for part in parts {
            assert!(told.contains(part), "{command}: {part}: {told}");
        }
    }
    let stranger = Environment::new().with("RESTIC_PASSWORD_FILE", "away");
    let repository = environment.path("repo").display().to_string();
    let told = stranger.run(["repo", "snapshots", &repository]).failure(1);
    assert!(told.contains("[HOME]/away, which RESTIC_PASSWORD_FILE in the environment"), "{told}");
}

#[test]
fn a_key_that_is_not_there_is_no_wrong_key() {
    let environment = Environment::new();
    let path = format!("media={}", environment.path("media").display());
    environment.write("media/a", "a");
    let tier = format!("primary={}", environment.path("backups").display());
    let made = ["init", "--no-discovery", "--confirm-later", "--site", "shop", "--tier", &tier];
    environment.run(made.iter().chain(&["--asset-path", path.as_str()])).success();
    environment.run(["backup"]).success();
    let key = environment.path("recovery.key");
    let spelled = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let told = environment.run(["backup"]).failure(1);
    for part in ["the file [HOME]/recovery.key", "[key] in the plan", "install -D -m 600"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let status = environment.run(["status", "--all"]).stdout();
    assert!(status.contains("it is not in [HOME]/recovery.key"), "{status}");
    let told =
        environment.run(["restore", "media", "--to", "out", "--key-file", "copy"]).failure(1);
    assert!(told.contains("[HOME]/copy, which `--key-file` names"), "{told}");

    environment.write("recovery.key", spelled);
    std::fs::remove_dir_all(environment.path("backups/repo/keys")).unwrap();
    let told = environment.run(["repo", "snapshots", "tier:primary"]).failure(1);
    assert!(told.contains("there is no key file") && told.contains("below `keys`"), "{told}");
    let checked = environment.run(["check"]);
    let told = checked.stdout();
    assert!(told.contains("there is no key file") && told.contains("from another tier"), "{told}");
}

#[test]
fn an_error_names_what_helps_here() {
    let site = Site::new();
    site.environment.write("tree/a", "a");
    site.environment.write("there.tar", "");
    let tree = site.environment.path("tree").display().to_string();
    site.backup(&["tree"]);
    let (file, lacking) = (format!("latest:{tree}/a"), format!("latest:{tree}/b"));
    for (arguments, code, helps) in [
        (&["restore", "repo"][..], 2, "--tar <FILE>"),
        (&["restore", "repo", "--to", "out", "--delete"], 2, "--overwrite"),
        (&["restore", "repo", "--tar", "there.tar"], 1, "there.tar"),
        (&["restore", "repo", "--tar", "there.tar"], 1, "name another file"),
        (&["restore", "repo", &file, "--to", "out"], 2, "--include"),
        (&["restore", "repo", &lacking, "--to", "out"], 1, "lifeboat repo ls"),
        (&["restore", "repo", "beef", "--to", "out"], 1, "lifeboat repo snapshots"),
        (&["restore", "repo", "latest", "--tag", "no", "--to", "out"], 1, "latest with tags no"),
        (&["key", "add", "repo"], 2, "--new-password-file"),
        (&["key", "remove", "repo", "zzz"], 1, "lifeboat repo key list"),
        (&["cat", "repo", "key", "zzz"], 1, "lifeboat repo key list"),
        (&["tag", "repo", "--add", "x", "--no-lock"], 2, "leave `--no-lock` out"),
        (&["check", "repo", "--read-data=0%"], 2, "nothing would be read"),
        (&["check", "repo", "--read-data-subset", "0%"], 2, "nothing would be read"),
        (&["find", "repo", "a", "--newest", "yesterday"], 2, "YYYY-MM-DD"),
    ] {
        let told = site.environment.run(["repo"].iter().chain(arguments)).failure(code);
        assert!(told.contains(helps), "{arguments:?}: {told}");
    }
    let found = site.environment.run(["repo", "find", "repo", "a", "--newest", "2020-01-01"]);
    assert_eq!(found.success(), "nothing found\n");
    let stranger = Environment::new().with("RESTIC_PASSWORD", "wrong");
    let repository = site.environment.path("repo").display().to_string();
    let told = stranger.run(["repo", "snapshots", &repository]).failure(12);
    assert!(told.contains("password") && !told.contains("plan"), "{told}");
}
