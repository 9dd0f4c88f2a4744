//! Passwords of a repository: what we add, stock restic opens with, and what is removed opens nothing.

use lifeboat_model::{Classify, Exit, Secret, Timestamp};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{OpenOptions, Repository, RepositoryError};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::Sample;

use crate::support::{PASSWORD, ResticRepository, memory, store};

fn origin() -> KeyOrigin {
    KeyOrigin {
        created: Timestamp::UNIX_EPOCH,
        username: "anna".to_owned(),
        hostname: "db1".to_owned(),
    }
}

fn quick() -> KdfParameters {
    KdfParameters::new(1 << 10, 8, 1).unwrap()
}

fn open(restic: &ResticRepository, password: &str) -> Result<Repository, RepositoryError> {
    Repository::open(store(restic.tier()), &Secret::new(password), &OpenOptions::default())
}

#[test]
fn several_passwords_open_one_repository_until_they_are_removed() {
    let restic = ResticRepository::of(&Sample::new(1).files(2));
    let repository = open(&restic, PASSWORD).unwrap();
    let added = repository.add_key(&Secret::new("second"), quick(), &origin()).unwrap();
    let second = Restic::new(restic.restic.path(), "second");
    assert_eq!(second.snapshots().unwrap().len(), 1, "restic opens with it");
    second.check_read_data().unwrap();

    let keys = repository.keys().unwrap();
    assert_eq!(keys.len(), 2);
    let note = keys.iter().find(|key| key.id == added).unwrap().note.as_ref().unwrap();
    assert_eq!((&*note.username, &*note.hostname), ("anna", "db1"));
    assert!(note.created.starts_with("1970-01-01"), "{note:?}");

    let error = repository.remove_key(&repository.key_id()).unwrap_err();
    assert!(matches!(error, RepositoryError::KeyInUse { .. }), "{error}");
    let other = open(&restic, "second").unwrap();
    other.remove_key(&repository.key_id()).unwrap();
    assert_eq!(open(&restic, PASSWORD).unwrap_err().exit(), Exit::WrongKey);
    let refused = restic.restic.snapshots().unwrap_err();
    assert!(refused.to_string().contains("wrong password"), "{refused}");
    // The one that is left cannot be removed by whoever opened with the one that is gone.
    repository.remove_key(&added).unwrap_err();
    assert_eq!(second.snapshots().unwrap().len(), 1);
}

#[test]
fn a_changed_password_replaces_the_old_one_for_restic_too() {
    let restic = ResticRepository::of(&Sample::new(2).files(2));
    let repository = open(&restic, PASSWORD).unwrap();
    let id = repository.change_password(&Secret::new("new"), quick(), &origin()).unwrap();
    let keys = repository.keys().unwrap();
    assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), [id]);
    assert_eq!(open(&restic, PASSWORD).unwrap_err().exit(), Exit::WrongKey);
    Restic::new(restic.restic.path(), "new").check_read_data().unwrap();

    // And the other way round: what restic adds opens the repository here.
    let file = restic.path("third");
    lifeboat_tiers::durable::replace(&file, b"third\n", 0o600).unwrap();
    let renewed = Restic::new(restic.restic.path(), "new");
    let file = file.to_str().unwrap();
    renewed.run(["key", "add", "--new-password-file", file]).unwrap();
    assert_ne!(open(&restic, "third").unwrap().key_id(), id);
}

#[test]
fn no_key_is_added_that_might_never_be_tried() {
    let repository = memory();
    let add =
        |number: usize| repository.add_key(&Secret::new(number.to_string()), quick(), &origin());
    for number in 1..20 {
        add(number).unwrap();
    }
    let error = add(20).unwrap_err();
    assert!(matches!(error, RepositoryError::TooManyKeys { count: 20, .. }), "{error}");
    assert_eq!(repository.keys().unwrap().len(), 20);
}

#[test]
fn a_key_file_is_found_by_its_first_digits() {
    let restic = ResticRepository::of(&Sample::new(3).files(1));
    let repository = open(&restic, PASSWORD).unwrap();
    let id = repository.key_id();
    let found = repository.find_file::<lifeboat_model::KeyId>("key files", &id.to_hex()[..6]);
    assert_eq!(found.unwrap(), id);
    let error = repository.find_file::<lifeboat_model::KeyId>("key files", "xyz").unwrap_err();
    assert!(error.to_string().contains("key files"), "{error}");
}
