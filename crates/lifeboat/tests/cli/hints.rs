//! What to do next, as the errors of `lifeboat repo` tell it.

use crate::capture::Site;
use crate::environment::Environment;

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
