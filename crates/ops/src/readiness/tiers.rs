//! Whether each tier could take a backup.

use std::io;
use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_model::{Classify as _, Outcome, TierName};
use lifeboat_repository::{Indexed, Repository};
use lifeboat_tiers::placement::{PROBE, PROBES};
use lifeboat_tiers::{ObjectPath, ObjectPrefix, PutMode, ReadRange, Refusal, Tier, TierError};
use rustix::fs::{Access, AtFlags, CWD};

use super::{Asking, Subject, locks, outcome_of};
use crate::adoptions::Emptiness;
use crate::error::{Trouble, explain};
use crate::named_tier::NamedTier;
use crate::plan_archive;
use crate::recovery_key::RecoveryKey;
use crate::status::history::History;
use crate::wire::{Place, Reached, Vacancy, repositories};

/// What is asked where the plan says `append_only`.
const REFUSES: &str = "it refuses to delete, as `append_only` says";

impl Asking<'_> {
    pub(super) fn tier(
        &mut self,
        (name, reached): (&TierName, Reached),
        key: Option<&RecoveryKey>,
        history: Option<&History>,
    ) {
        let subject = Subject::Tier(name.clone());
        let what = "it can be reached and is this site's";
        let named = match reached {
            Reached::Trouble(trouble) => return self.trouble(&subject, what, trouble),
            Reached::Vacant(vacancy) => {
                let address = vacancy.address().to_owned();
                let emptiness = history.map(|history| history.nothing_at(name, &address));
                let told = match emptiness {
                    Some(Emptiness::Lost) => {
                        let lost = Emptiness::Lost.trouble(name.clone(), address);
                        return self.trouble(&subject, what, Trouble::of(&lost));
                    }
                    Some(Emptiness::Moved { from }) => Some(format!(
                        "it lay at {from} before the plan was changed; what lies there no longer counts"
                    )),
                    Some(Emptiness::New) | None => None,
                };
                return self.vacancy(&subject, &vacancy, told);
            }
            Reached::Ready(named) => named,
        };
        self.passed(&subject, what);
        self.writing(&subject, &named);
        if let Some(key) = key {
            let surroundings = self.site.surroundings();
            let opened = repositories::open(&named, key, surroundings, self.events, self.cancel);
            let what = "its repository opens with the recovery key";
            if let Some(repository) = self.take(&subject, what, opened) {
                self.left_locks(&subject, &named, &repository);
                self.locks(&subject, &named, &repository);
            }
            self.plan(&subject, &named, key);
        }
    }

    /// Tells of locks that stay because nobody there may delete them, or whose holders were killed.
    fn left_locks(
        &mut self,
        subject: &Subject,
        named: &NamedTier,
        repository: &Repository<Indexed>,
    ) {
        let what = "locks that were left in its repository stand in nobody's way";
        let count = match repository.left_locks(self.site.surroundings().now()) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) => {
                self.take::<(), _>(subject, what, Err(error));
                return;
            }
        };
        let (name, tiers) = (&named.name, self.site.plan().tiers());
        let hint = if tiers.get(name).is_some_and(|tier| tier.append_only) {
            format!(
                "nothing has to be done: `lifeboat retention run {name}` takes them away, on a machine whose credentials may delete"
            )
        } else {
            format!("nothing has to be done: `lifeboat repo unlock tier:{name}` takes them away")
        };
        let message = format!("{count} of work that is over lie below `repo/locks/`");
        self.say(subject, what, Outcome::Passed, (Some(message), Some(hint)));
    }

    /// Asks whether a machine that has nothing would find the plan whole. One that is not there yet comes with the next
    /// backup.
    fn plan(&mut self, subject: &Subject, named: &NamedTier, key: &RecoveryKey) {
        let (what, plan) = ("the plan lies there whole", self.site.plan().id());
        let (surroundings, opener) = (self.site.surroundings(), key.opener());
        let flaw = plan_archive::flaw(plan, &opener, named.tier.as_ref(), surroundings.now());
        let Some(flaw) = surroundings.runtime.block_on(flaw) else {
            return self.passed(subject, what);
        };
        match flaw.of_the_tier() {
            Ok(error) => {
                self.take::<(), _>(subject, what, Err(error));
            }
            Err(flaw) => {
                let message =
                    format!("{} is damaged: {}", plan_archive::path(plan), explain(&flaw));
                let hint = "lifeboat backup".to_owned();
                self.say(subject, what, Outcome::Failed, (Some(message), Some(hint)));
            }
        }
    }

    /// Asks whether something can be stored; and, where the plan says that nothing can be removed, whether
    /// that is so.
    fn writing(&mut self, subject: &Subject, named: &NamedTier) {
        let (surroundings, what) = (self.site.surroundings(), "it can be written to");
        let rules = self.site.plan().tiers().get(&named.name);
        let append_only = rules.is_some_and(|tier| tier.append_only);
        if !append_only && rules.is_none_or(|tier| tier.lock.is_none()) {
            let probed = surroundings.runtime.block_on(probe(named.tier.as_ref(), ""));
            self.take(subject, what, probed);
            return;
        }
        match surroundings.runtime.block_on(try_delete(named.tier.as_ref())) {
            Err(Unproven::Crowded) => self.crowded(subject, what, &named.name),
            Err(Unproven::Stored(error)) => self.not_written(subject, what, &error),
            Err(Unproven::Deleted(error)) => {
                self.passed(subject, what);
                let message = format!("could not verify: {}", explain(&error));
                self.say(subject, REFUSES, Outcome::CouldNotVerify, (Some(message), None));
            }
            Ok(tried) => {
                self.passed(subject, what);
                if append_only {
                    self.refusal(subject, tried);
                }
            }
        }
    }

    fn crowded(&mut self, subject: &Subject, what: &str, name: &TierName) {
        let message = format!(
            "could not verify: {LEFT_MAX} objects of earlier trials lie below `{PROBES}/`, and no more are stored"
        );
        let hint = format!(
            "`lifeboat retention run {name}` takes them away, on a machine whose credentials may delete"
        );
        self.say(subject, what, Outcome::CouldNotVerify, (Some(message), Some(hint)));
    }

    fn not_written(&mut self, subject: &Subject, what: &str, error: &TierError) {
        let hint = if matches!(error, TierError::Refused { refusal: Refusal::NotAllowed, .. }) {
            let hint = "give these credentials the right to add objects, or use those that have it; \
                        docs/append-only.md says which rights a backup needs";
            Some(hint.to_owned())
        } else {
            error.hint().map(|hint| hint.to_string())
        };
        self.say(subject, what, outcome_of(error), (Some(explain(error)), hint));
    }

    fn refusal(&mut self, subject: &Subject, tried: Deletion) {
        let what = REFUSES;
        match tried {
            Deletion::Refused => self.passed(subject, what),
            Deletion::Done => {
                let message = "it deleted an object that was stored for this; whoever has this host's \
                               credentials can delete every copy there";
                let hint =
                    "take the right to delete from these credentials, see docs/append-only.md";
                let told = (Some(message.to_owned()), Some(hint.to_owned()));
                self.say(subject, what, Outcome::Failed, told);
            }
        }
    }

    /// Asks whether a tier that was never set up can be.
    fn vacancy(&mut self, subject: &Subject, vacancy: &Vacancy, told: Option<String>) {
        let what = "it can be set up by the first backup";
        let problem = match vacancy.place() {
            Place::Empty(tier) => self.unfit(tier.as_ref(), vacancy.name()),
            Place::Nothing(path) => could_be_made(path).err().map(|problem| {
                let hint = "make the directory, give it to the user who runs lifeboat, or mount what \
                            belongs there";
                (problem, Some(hint.to_owned()))
            }),
        };
        let Some((problem, hint)) = problem else {
            return self.say(subject, what, Outcome::Passed, (told, None));
        };
        let message = format!("there is nothing at {} yet, and {problem}", vacancy.address());
        self.say(subject, what, Outcome::Failed, (Some(message), hint));
    }
}

impl Asking<'_> {
    /// Says why a tier that holds nothing could not be set up as the plan says, and what can be done.
    fn unfit(&self, tier: &dyn Tier, name: &TierName) -> Option<(String, Option<String>)> {
        let surroundings = self.site.surroundings();
        let lock = self.site.plan().tiers().get(name).and_then(locks::wanted);
        let tried = match lock {
            Some((_, mode)) => {
                let tried = locks::try_lock(tier, mode, surroundings.now());
                surroundings.runtime.block_on(tried)
            }
            None => surroundings.runtime.block_on(probe(tier, "")).map(|()| None),
        };
        match tried {
            Ok(flaw) => flaw.map(|(why, hint)| (why, Some(hint))),
            Err(error) => Some((explain(&error), error.hint().map(|hint| hint.to_string()))),
        }
    }
}

/// What came of trying to delete something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// It was refused.
    Refused,
    /// It is gone.
    Done,
}

/// Why nobody knows whether something may be deleted.
#[derive(Debug)]
pub(crate) enum Unproven {
    /// So much lies there of earlier trials that no more is stored.
    Crowded,
    /// The object could not be stored.
    Stored(TierError),
    /// It could not be found out what became of deleting it.
    Deleted(TierError),
}

/// How many objects trials may leave on a tier that lets nothing be deleted: each has eight bytes, and all are listed with
/// one request.
const LEFT_MAX: usize = 1000;

/// How many of them are removed at a time.
const REQUESTS_MAX: usize = 8;

/// Stores an object that was never there, which no lock keeps, and tries to delete it.
///
/// It has a name of its own: where nothing may be replaced, storing what is there already proves nothing. What may not be
/// deleted stays, up to [`LEFT_MAX`], until somebody comes who may: [`may_delete`].
pub(crate) async fn try_delete(tier: &dyn Tier) -> Result<Deletion, Unproven> {
    let left = left(tier).await.map_err(Unproven::Stored)?;
    if left.len() >= LEFT_MAX {
        return Err(Unproven::Crowded);
    }
    let path = store_one(tier).await.map_err(Unproven::Stored)?;
    delete(tier, &path).await.map_err(Unproven::Deleted)
}

/// Finds out whether anything may be deleted, and takes away what trials left if it may. What lies there serves
/// before anything is stored for this.
pub(crate) async fn may_delete(tier: &dyn Tier) -> Result<Deletion, TierError> {
    let mut left = left(tier).await?;
    let path = match left.pop() {
        Some(path) => path,
        None => store_one(tier).await?,
    };
    let tried = delete(tier, &path).await?;
    if tried == Deletion::Done {
        remove(tier, left).await?;
    }
    Ok(tried)
}

/// Takes away what trials left, but for what is locked still.
pub(crate) async fn clear_away(tier: &dyn Tier) -> Result<(), TierError> {
    remove(tier, left(tier).await?).await
}

async fn remove(tier: &dyn Tier, paths: Vec<ObjectPath>) -> Result<(), TierError> {
    let remove = |path| async move {
        match tier.delete(&path).await {
            Err(error) if keeps(&error) => Ok(()),
            removed => removed,
        }
    };
    stream::iter(paths).map(remove).buffer_unordered(REQUESTS_MAX).try_collect().await
}

/// Lists what trials left.
async fn left(tier: &dyn Tier) -> Result<Vec<ObjectPath>, TierError> {
    let prefix: ObjectPrefix = PROBES.parse().expect("it is a valid path");
    tier.list(&prefix).map_ok(|object| object.path).try_collect().await
}

/// Stores an object that was never there.
pub(super) async fn store_one(tier: &dyn Tier) -> Result<ObjectPath, TierError> {
    let name = hex::encode(crate::random::bytes::<8>());
    let path: ObjectPath = format!("{PROBES}/{name}").parse().expect("hex digits are a valid path");
    tier.put(&path, Bytes::from_static(b"lifeboat"), PutMode::Create).await?;
    Ok(path)
}

async fn delete(tier: &dyn Tier, path: &ObjectPath) -> Result<Deletion, TierError> {
    match tier.delete(path).await {
        Ok(()) => {}
        Err(error) if keeps(&error) => return Ok(Deletion::Refused),
        Err(error) => return Err(error),
    }
    // Some stores only hide what they were to delete, or say yes and do nothing.
    match tier.head(path).await {
        Err(TierError::NotFound { .. }) => Ok(Deletion::Done),
        Ok(_) => Ok(Deletion::Refused),
        Err(error) => Err(error),
    }
}

/// Tells whether that is how a tier refuses to delete.
const fn keeps(error: &TierError) -> bool {
    matches!(error, TierError::Locked { .. }) || error.is_not_allowed()
}

/// Puts a small object into a folder, reads it back and removes it, if that is allowed: whoever may only
/// add leaves it there.
pub(crate) async fn probe(tier: &dyn Tier, folder: &str) -> Result<(), TierError> {
    let name = hex::encode(crate::random::bytes::<8>());
    let path: ObjectPath =
        format!("{folder}{PROBE}{name}").parse().expect("hex digits are a valid path");
    tier.put(&path, Bytes::from_static(b"lifeboat"), PutMode::Create).await?;
    let read = tier.get(&path, ReadRange::Full).await;
    match tier.delete(&path).await {
        Err(error) if !keeps(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    read.map(drop)
}

/// Tells why a directory could not be made where there is nothing; makes none.
fn could_be_made(path: &Path) -> Result<(), String> {
    for above in path.ancestors().skip(1) {
        let shown = above.display();
        match above.metadata() {
            // A link that leads nowhere is something, and no directory.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && above.symlink_metadata().is_err() => {
            }
            Err(error) => return Err(format!("{shown} cannot be used: {error}")),
            Ok(found) if !found.is_dir() => return Err(format!("{shown} is no directory")),
            Ok(_) => {
                // The effective user is the one who makes it; a read-only disk refuses here too.
                let wanted = Access::WRITE_OK | Access::EXEC_OK;
                return rustix::fs::accessat(CWD, above, wanted, AtFlags::EACCESS)
                    .map_err(|error| format!("{shown} cannot be written to: {error}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use futures::stream::BoxStream;
    use lifeboat_model::Capabilities;
    use lifeboat_tiers::{MemoryTier, ObjectMeta};

    use super::*;

    /// A store that says yes to whoever deletes, and does something else.
    #[derive(Debug)]
    struct Pretending {
        inner: MemoryTier,
        /// Whether what is to be deleted goes all the same.
        deletes: Deletion,
        /// Whether it then says what is there.
        tells: bool,
    }

    #[async_trait::async_trait]
    impl Tier for Pretending {
        fn address(&self) -> &str {
            self.inner.address()
        }

        fn capabilities(&self) -> Capabilities {
            self.inner.capabilities()
        }

        async fn put(
            &self,
            path: &ObjectPath,
            body: Bytes,
            mode: PutMode,
        ) -> Result<(), TierError> {
            self.inner.put(path, body, mode).await
        }

        async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
            self.inner.get(path, range).await
        }

        async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
            if self.tells {
                return self.inner.head(path).await;
            }
            let (tier, action) = (self.address().to_owned(), "look".to_owned());
            Err(TierError::Unavailable { tier, action, source: io::Error::other("silent") })
        }

        fn list<'a>(
            &'a self,
            prefix: &ObjectPrefix,
        ) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
            self.inner.list(prefix)
        }

        async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
            match self.deletes {
                Deletion::Done => self.inner.delete(path).await,
                Deletion::Refused => Ok(()),
            }
        }
    }

    #[test]
    fn a_store_that_says_yes_to_a_delete_is_looked_at_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tried = |deletes, tells| {
            let tier = Pretending { inner: MemoryTier::new(), deletes, tells };
            runtime.block_on(try_delete(&tier))
        };
        assert_eq!(tried(Deletion::Done, true).unwrap(), Deletion::Done);
        assert_eq!(tried(Deletion::Refused, true).unwrap(), Deletion::Refused, "it only said so");
        for deletes in [Deletion::Done, Deletion::Refused] {
            let unproven = tried(deletes, false).unwrap_err();
            assert!(matches!(unproven, Unproven::Deleted(_)), "nobody knows: {unproven:?}");
        }
    }

    #[test]
    fn what_trials_leave_is_bounded_and_goes_where_something_may_be_deleted() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pretending = |deletes| Pretending { inner: MemoryTier::new(), deletes, tells: true };
        let stuck = pretending(Deletion::Refused);
        for _ in 0..LEFT_MAX {
            assert_eq!(runtime.block_on(try_delete(&stuck)).unwrap(), Deletion::Refused);
        }
        let full = runtime.block_on(try_delete(&stuck)).unwrap_err();
        assert!(matches!(full, Unproven::Crowded), "{full:?}");
        assert_eq!(runtime.block_on(may_delete(&stuck)).unwrap(), Deletion::Refused);
        assert_eq!(stuck.inner.contents().len(), LEFT_MAX, "what lies there served");

        let free = Pretending { deletes: Deletion::Done, ..stuck };
        assert_eq!(runtime.block_on(may_delete(&free)).unwrap(), Deletion::Done);
        assert_eq!(free.inner.contents().len(), 0);
        let empty = pretending(Deletion::Done);
        assert_eq!(runtime.block_on(may_delete(&empty)).unwrap(), Deletion::Done);
    }

    #[test]
    fn a_directory_can_be_made_where_the_nearest_one_takes_it() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(could_be_made(&home.path().join("a/b/c")), Ok(()));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

        fs::File::create(home.path().join("file")).unwrap();
        let error = could_be_made(&home.path().join("file/b")).unwrap_err();
        assert!(error.contains("no directory") || error.contains("cannot be used"), "{error}");
        symlink(home.path().join("nowhere"), home.path().join("link")).unwrap();
        let error = could_be_made(&home.path().join("link/b")).unwrap_err();
        assert!(error.contains("link cannot be used"), "{error}");
    }

    #[test]
    fn a_directory_that_refuses_us_is_named() {
        let home = tempfile::tempdir().unwrap();
        let closed = home.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
        let tier = closed.join("backups/tier");
        let asked = std::thread::spawn(move || {
            // The superuser is refused nothing; of this thread alone, files belong to nobody.
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            }
            could_be_made(&tier)
        });
        let error = asked.join().unwrap().unwrap_err();
        assert!(
            error.starts_with(&format!("{} cannot be written to", closed.display())),
            "{error}"
        );
    }
}
