//! S3 and Azure in bad weather: on the line to an emulator happens what networks and stores do.

#![cfg(test)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use lifeboat_model::{Classify, Clock as _, ErrorKind, Secret, SimClock, SystemClock, Timestamp};
use lifeboat_testing::certificate::{Authority, Validity};
use lifeboat_testing::emulators::{Azurite, Bucket, Moto};
use lifeboat_testing::line::{At, Carried, Line, Reply, Rule, Trouble, Way, Weather};
use lifeboat_tiers::azure::AzureOptions;
use lifeboat_tiers::counting::Traffic;
use lifeboat_tiers::http::Patience;
use lifeboat_tiers::s3::S3Options;
use lifeboat_tiers::{
    AzureTier, CountingTier, ObjectPath, ObjectPrefix, PutMode, ReadRange, RetryPolicy, RetryTier,
    S3Tier, Tier, TierError,
};

const BUCKET: &str = "backups";

/// Short enough for a test that waits for it to end. An emulator on a busy machine may exceed it as well: where it is
/// counted how often something is tried, patience is that of [`Patience::default`].
const SHORT: Patience =
    Patience { connect: Duration::from_millis(300), silence: Duration::from_millis(300) };

/// Where the line ends.
enum Shore {
    S3(Moto),
    Azure(Azurite),
}

impl Shore {
    fn s3(kind: Bucket) -> Self {
        let moto = Moto::start().unwrap();
        moto.make_bucket(BUCKET, kind).unwrap();
        Self::S3(moto)
    }

    fn azure() -> Self {
        let azurite = Azurite::start().unwrap();
        azurite.make_container(BUCKET).unwrap();
        Self::Azure(azurite)
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::S3(moto) => moto.address(),
            Self::Azure(azurite) => azurite.address(),
        }
    }

    /// What errors call the tier.
    fn name(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3://backups/site",
            Self::Azure(_) => "azure://devstoreaccount1/backups/site",
        }
    }

    /// What is in the address of a listing.
    fn listing(&self) -> &'static str {
        match self {
            Self::S3(_) => "list-type",
            Self::Azure(_) => "comp=list",
        }
    }

    fn tier_at(&self, endpoint: String, patience: Patience) -> Arc<dyn Tier> {
        match self {
            Self::S3(_) => {
                let mut options = s3_options(endpoint);
                options.patience = patience;
                Arc::new(S3Tier::new(&options, Arc::new(SystemClock)).unwrap())
            }
            Self::Azure(_) => {
                let mut options = AzureOptions::new(Azurite::ACCOUNT, BUCKET, "site");
                options.endpoint = Some(format!("{endpoint}/{}", Azurite::ACCOUNT));
                options.account_key = Some(Secret::new(Azurite::KEY.to_owned()));
                options.patience = patience;
                Arc::new(AzureTier::new(&options, Arc::new(SystemClock)).unwrap())
            }
        }
    }
}

fn s3_options(endpoint: String) -> S3Options {
    let mut options = S3Options::new(BUCKET, "site");
    options.endpoint = Some(endpoint);
    options.region = Some(Moto::REGION.to_owned());
    let who = Moto::credentials();
    let environment = [("AWS_ACCESS_KEY_ID", who.key_id), ("AWS_SECRET_ACCESS_KEY", who.secret)];
    options.environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    options
}

/// A server, the line to it, and the clock by which waits pass.
struct Coast {
    shore: Shore,
    line: Line,
    clock: Arc<SimClock>,
}

impl Coast {
    fn new(shore: Shore) -> Self {
        let line = Line::to(shore.address(), Weather::fair()).unwrap();
        Self { shore, line, clock: Arc::new(SimClock::new(Timestamp::UNIX_EPOCH)) }
    }

    /// The tier behind the line, which tries nothing again.
    fn tier(&self) -> Arc<dyn Tier> {
        self.shore.tier_at(self.line.endpoint(), Patience::default())
    }

    /// The same as commands use it: what is waited for passes at once.
    fn steady(&self) -> RetryTier {
        self.steadied(self.tier())
    }

    fn steadied(&self, tier: Arc<dyn Tier>) -> RetryTier {
        let counting = Arc::new(CountingTier::new(tier));
        let clock = Arc::<SimClock>::clone(&self.clock);
        RetryTier::new(counting, clock, RetryPolicy::default())
    }

    /// The tier as somebody sees it whose line is well.
    fn ashore(&self) -> Arc<dyn Tier> {
        let endpoint = format!("http://{}", self.shore.address());
        self.shore.tier_at(endpoint, Patience::default())
    }

    fn set(&self, rule: Rule) -> Carried {
        self.line.set(Weather::fair().with(rule));
        self.line.carried()
    }

    fn since(&self, before: Carried) -> Carried {
        self.line.carried().since(before)
    }
}

fn path() -> ObjectPath {
    "repo/data/ab/abcd".parse().unwrap()
}

async fn put(tier: &dyn Tier, body: &Bytes) -> Result<(), TierError> {
    tier.put(&path(), body.clone(), PutMode::Overwrite).await
}

async fn get(tier: &dyn Tier) -> Result<Bytes, TierError> {
    tier.get(&path(), ReadRange::Full).await
}

async fn list(tier: &dyn Tier) -> Result<usize, TierError> {
    let found: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await?;
    Ok(found.len())
}

fn waited_since(clock: &SimClock, began: Timestamp) -> Duration {
    clock.now().duration_since(began).try_into().unwrap()
}

fn refusal(status: u16, code: &str, more: &str) -> Reply {
    let body = format!("<Error><Code>{code}</Code><Message>no</Message>{more}</Error>");
    Reply::status(status).body(body)
}

/// What each operation says to a store that answers like this.
async fn told(tier: &dyn Tier) -> [(&'static str, TierError); 5] {
    let body = Bytes::from_static(b"body");
    [
        ("write repo/data/ab/abcd", put(tier, &body).await.unwrap_err()),
        ("read repo/data/ab/abcd", get(tier).await.unwrap_err()),
        ("look at repo/data/ab/abcd", tier.head(&path()).await.unwrap_err()),
        ("delete repo/data/ab/abcd", tier.delete(&path()).await.unwrap_err()),
        ("list its objects", list(tier).await.unwrap_err()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_not_pass_is_asked_once_and_told_with_tier_object_and_remedy() {
    let coast = Coast::new(Shore::s3(Bucket::Plain));
    let region = "<Region>eu-west-1</Region>";
    let time = "<ServerTime>2020-01-01T00:00:00Z</ServerTime>";
    let named = |reply: Reply| reply.header("x-amz-bucket-region", "eu-west-1");
    let dated = |reply: Reply| reply.header("Date", "Wed, 01 Jan 2020 00:00:00 GMT");
    for (reply, kind, word, remedy) in [
        (
            named(refusal(301, "PermanentRedirect", "")),
            ErrorKind::Config,
            "eu-west-1",
            "AWS_REGION=eu-west-1",
        ),
        (
            named(refusal(400, "AuthorizationHeaderMalformed", region)),
            ErrorKind::Config,
            "eu-west-1",
            "AWS_REGION=eu-west-1",
        ),
        (
            dated(refusal(403, "RequestTimeTooSkewed", time)),
            ErrorKind::Config,
            "clock is off by",
            "timedatectl",
        ),
        (
            refusal(403, "AccessDenied", ""),
            ErrorKind::Denied,
            "do not allow it",
            "docs/object-stores.md",
        ),
        (
            refusal(507, "XMinioStorageFull", ""),
            ErrorKind::Denied,
            "no space is left",
            "free space",
        ),
        (Reply::status(507), ErrorKind::Denied, "no space is left", "free space"),
    ] {
        coast.set(Rule::requests(Trouble::Answer(reply)));
        let steady = coast.steady();
        for (action, error) in told(&steady).await {
            let text = error.to_string();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(text.contains(coast.shore.name()) && text.contains(action), "{text}");
            assert!(text.contains(word), "{text}");
            assert!(error.hint().unwrap().to_string().contains(remedy), "{:?}", error.hint());
        }
        assert_eq!(steady.retries(), 0);
    }
    assert_eq!(list(coast.ashore().as_ref()).await.unwrap(), 0, "nothing got through");
}

#[tokio::test(flavor = "multi_thread")]
async fn storms_are_outlasted_and_every_request_is_counted() {
    let azure = Coast::new(Shore::azure());
    let coast = Coast::new(Shore::s3(Bucket::Versioned));
    for coast in [&coast, &azure] {
        a_store_that_slows_down_is_waited_for(coast).await;
        patience_with_a_store_ends(coast).await;
        rest_is_given_to_who_asks_for_it(coast).await;
    }
    what_the_tier_counts_is_what_passed_the_line(&coast).await;
}

async fn a_store_that_slows_down_is_waited_for(coast: &Coast) {
    for reply in [refusal(503, "SlowDown", ""), Reply::status(429), Reply::status(500)] {
        let before = coast.set(Rule::requests(Trouble::Answer(reply)).first(3));
        let steady = coast.steady();
        put(&steady, &Bytes::from_static(b"body")).await.unwrap();
        assert_eq!((coast.since(before).requests, steady.retries()), (4, 3));
    }
    assert_eq!(get(coast.ashore().as_ref()).await.unwrap(), "body");
}

async fn patience_with_a_store_ends(coast: &Coast) {
    coast.set(Rule::requests(Trouble::Answer(refusal(503, "SlowDown", ""))));
    let attempts = u64::from(RetryPolicy::default().attempts_max);
    let began = coast.clock.now();
    let steady = coast.steady();
    for (action, error) in told(&steady).await {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
        assert!(text.contains(coast.shore.name()) && text.contains(action), "{text}");
        let word = std::error::Error::source(&error).unwrap().to_string();
        assert!(word.contains("503") || action.starts_with("look at"), "{word}");
    }
    assert_eq!(steady.retries(), 5 * (attempts - 1));
    let waited = waited_since(&coast.clock, began);
    assert!(waited < Duration::from_secs(5 * 16), "{waited:?}");
    assert_eq!(get(coast.ashore().as_ref()).await.unwrap(), "body", "what was there is there");
}

async fn rest_is_given_to_who_asks_for_it(coast: &Coast) {
    let busy = refusal(503, "SlowDown", "");
    coast.set(Rule::requests(Trouble::Answer(busy.retry_after(7))).first(1));
    let began = coast.clock.now();
    put(&coast.steady(), &Bytes::from_static(b"body")).await.unwrap();
    let waited = waited_since(&coast.clock, began);
    assert!((7..=9).contains(&waited.as_secs()), "{waited:?}");
}

/// Deleting in a bucket with versions looks for them, a listing has pages, and a storm costs requests.
async fn what_the_tier_counts_is_what_passed_the_line(coast: &Coast) {
    let storm = Rule::requests(Trouble::Answer(refusal(503, "SlowDown", ""))).chance(0.2);
    coast.line.set(Weather::fair().with(storm).seed(5));
    let before = coast.line.carried();
    let steady = coast.steady();
    let name = |number: u32| -> ObjectPath { format!("storm/{number}").parse().unwrap() };
    let body = Bytes::from(vec![7; 1000]);
    for number in 0..20 {
        steady.put(&name(number), body.clone(), PutMode::Create).await.unwrap();
        assert_eq!(steady.get(&name(number), ReadRange::Suffix(10)).await.unwrap(), vec![7; 10]);
        steady.head(&name(number)).await.unwrap();
    }
    assert_eq!(list(&steady).await.unwrap(), 21);
    for number in 0..20 {
        steady.delete(&name(number)).await.unwrap();
    }
    assert_eq!(list(&steady).await.unwrap(), 1);
    let counted: Traffic = steady.counted().unwrap();
    let asked = counted.puts + counted.gets + counted.heads + counted.lists + counted.deletes;
    assert_eq!(asked, coast.since(before).requests, "{counted:?}");
    assert!(counted.retries > 0 && counted.retries == steady.retries(), "{counted:?}");
    assert_eq!((counted.written_bytes, counted.read_bytes), (20 * 1000, 20 * 10));
    // Each delete lists the versions of its object, and each of two lists has a page.
    assert!(counted.lists >= 22, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_cut_silent_or_altered_ends_as_if_nothing_had_been() {
    for shore in [Shore::s3(Bucket::Plain), Shore::azure()] {
        let coast = Coast::new(shore);
        an_upload_that_is_cut_anywhere_is_whole_or_not_there(&coast).await;
        a_download_that_is_cut_anywhere_is_read_again(&coast).await;
        who_never_answers_is_given_up_and_asked_again(&coast).await;
        match &coast.shore {
            Shore::S3(_) => {
                an_upload_that_was_altered_is_never_taken_for_what_was_sent(&coast).await;
            }
            Shore::Azure(_) => an_upload_that_was_altered_is_refused_by_azure(&coast).await,
        }
        a_download_that_was_altered_is_read_again(&coast).await;
    }
}

/// Where a message is cut: in its first line, at each part of its body that is handed over at a time, and after
/// all. A head that ends in its later lines the emulator takes for a whole one, which nobody else does.
fn places(length: u64) -> Vec<At> {
    const SLICE: u64 = 64 << 10;
    let parts = (0..=length / SLICE).map(|part| At::Body(part * SLICE));
    [At::Byte(0), At::Byte(10), At::Half, At::Body(length - 1), At::Body(length)]
        .into_iter()
        .chain(parts)
        .collect()
}

async fn an_upload_that_is_cut_anywhere_is_whole_or_not_there(coast: &Coast) {
    let bodies = [3_u8, 4].map(|byte| Bytes::from(vec![byte; 200_000]));
    let (old, new) = (&bodies[0], &bodies[1]);
    let there = places(new.len() as u64).into_iter().map(|at| Trouble::Cut(Way::There, at));
    let lost = [At::Byte(0), At::Byte(20)].map(|at| Trouble::Cut(Way::Back, at));
    for trouble in there.chain(lost) {
        for (mode, before) in [(PutMode::Overwrite, Some(old)), (PutMode::Create, None)] {
            let ashore = coast.ashore();
            ashore.delete(&path()).await.unwrap();
            if let Some(old) = before {
                put(ashore.as_ref(), old).await.unwrap();
            }
            let about = format!("{trouble:?} {mode:?}");
            coast.set(Rule::method("PUT", trouble.clone()).first(1));
            let error = coast.tier().put(&path(), new.clone(), mode).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{about}: {error}");
            assert!(error.to_string().contains("write repo/data/ab/abcd"), "{error}");
            match get(ashore.as_ref()).await {
                Ok(found) => assert!(found == *new || Some(&found) == before, "{about}"),
                Err(TierError::NotFound { .. }) => assert_eq!(before, None, "{about}"),
                Err(error) => panic!("{about}: {error}"),
            }
            if mode == PutMode::Create {
                ashore.delete(&path()).await.unwrap();
            }
            coast.set(Rule::method("PUT", trouble.clone()).first(1));
            let steady = coast.steady();
            steady.put(&path(), new.clone(), mode).await.unwrap_or_else(|e| panic!("{about}: {e}"));
            assert_eq!(steady.retries(), 1, "{about}");
            assert_eq!(get(ashore.as_ref()).await.unwrap(), new, "{about}");
        }
    }
}

async fn a_download_that_is_cut_anywhere_is_read_again(coast: &Coast) {
    let body = Bytes::from(vec![5; 200_000]);
    put(coast.ashore().as_ref(), &body).await.unwrap();
    for at in places(body.len() as u64).into_iter().filter(|at| *at != At::Body(200_000)) {
        let range = ReadRange::Bounded { offset: 0, length: 200_000 };
        for range in [ReadRange::Full, range, ReadRange::Suffix(200_000)] {
            let cut = Trouble::Cut(Way::Back, at);
            coast.set(Rule::method("GET", cut.clone()).first(1));
            let error = coast.tier().get(&path(), range).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{at:?}: {error}");
            assert!(error.to_string().contains("read repo/data/ab/abcd"), "{error}");
            coast.set(Rule::method("GET", cut).first(1));
            assert_eq!(coast.steady().get(&path(), range).await.unwrap(), body, "{at:?}");
        }
    }
    coast.set(
        Rule::method("GET", Trouble::Cut(Way::Back, At::Half))
            .about(coast.shore.listing())
            .first(1),
    );
    let steady = coast.steady();
    assert_eq!(list(&steady).await.unwrap(), 1);
    assert_eq!(steady.retries(), 1);
}

async fn who_never_answers_is_given_up_and_asked_again(coast: &Coast) {
    let body = Bytes::from(vec![6; 200_000]);
    for rule in [Rule::requests(Trouble::Silence), Rule::connections(Trouble::Silence)] {
        coast.set(rule.clone());
        let hasty = || coast.shore.tier_at(coast.line.endpoint(), SHORT);
        let error = put(hasty().as_ref(), &body).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let word = std::error::Error::source(&error).unwrap().to_string();
        assert!(word.contains("nothing moved for 0.3 seconds"), "{word}");
        let before = coast.set(rule.first(1));
        let steady = coast.steadied(hasty());
        put(&steady, &body).await.unwrap();
        // An emulator that is busy may be silent for as long once more.
        assert!(steady.retries() >= 1);
        assert_eq!(coast.since(before).troubles, 1);
    }
    assert_eq!(get(coast.ashore().as_ref()).await.unwrap(), body);
}

/// The emulator takes whatever comes: it holds nothing against the hash in the signature, and notes the sum
/// that it was told. So that S3 refuses is told by a recorded answer, and what it would be if it did not is shown.
async fn an_upload_that_was_altered_is_never_taken_for_what_was_sent(coast: &Coast) {
    let body = Bytes::from(vec![7; 1000]);
    for code in ["XAmzContentSHA256Mismatch", "BadDigest"] {
        coast.set(Rule::method("PUT", Trouble::Answer(refusal(400, code, ""))).first(1));
        let steady = coast.steady();
        put(&steady, &body).await.unwrap();
        assert_eq!(steady.retries(), 1, "{code}");
    }
    let noted = Reply::status(200)
        .header("x-amz-checksum-sha256", "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=");
    coast.set(Rule::method("PUT", Trouble::Answer(noted)).first(1));
    let steady = coast.steady();
    put(&steady, &body).await.unwrap();
    assert_eq!(steady.retries(), 1, "the store said that it has something else");

    coast.set(Rule::method("PUT", Trouble::Alter(Way::There, At::Half)));
    put(coast.tier().as_ref(), &body).await.unwrap();
    let error = get(coast.ashore().as_ref()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let word = std::error::Error::source(&error).unwrap().to_string();
    assert!(word.contains("another sum"), "{word}");
    put(coast.ashore().as_ref(), &body).await.unwrap();
}

/// The sum that goes along is held against what came. The emulator has a word of its own for that, so what Azure says is a
/// recorded answer.
async fn an_upload_that_was_altered_is_refused_by_azure(coast: &Coast) {
    let body = Bytes::from(vec![7; 1000]);
    coast.set(Rule::method("PUT", Trouble::Answer(refusal(400, "Md5Mismatch", ""))).first(1));
    let steady = coast.steady();
    put(&steady, &body).await.unwrap();
    assert_eq!(steady.retries(), 1);
    coast.set(Rule::method("PUT", Trouble::Alter(Way::There, At::Half)));
    put(coast.tier().as_ref(), &Bytes::from(vec![8; 1000])).await.unwrap_err();
    assert_eq!(get(coast.ashore().as_ref()).await.unwrap(), body, "what was there is there");
}

/// Of a part the store tells no sum: what comes altered in it is noticed by whoever knows what it should be.
async fn a_download_that_was_altered_is_read_again(coast: &Coast) {
    let altered = || Rule::method("GET", Trouble::Alter(Way::Back, At::Body(5))).first(1);
    coast.set(altered());
    let steady = coast.steady();
    assert_eq!(get(&steady).await.unwrap(), vec![7; 1000]);
    assert_eq!(steady.retries(), 1);
    coast.set(altered());
    let part = ReadRange::Bounded { offset: 0, length: 10 };
    assert_eq!(coast.tier().get(&path(), part).await.unwrap()[5], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_store_that_proves_its_name_is_spoken_to() {
    let moto = Moto::start().unwrap();
    moto.make_bucket(BUCKET, Bucket::Plain).unwrap();
    let (known, unknown) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::io::Write::write_all(
        &mut std::fs::File::create(&file).unwrap(),
        known.to_pem().as_bytes(),
    )
    .unwrap();
    let tier = |line: &Line, patience: Patience| {
        let mut options = s3_options(line.endpoint());
        let authorities = ("AWS_CA_BUNDLE".to_owned(), file.display().to_string());
        options.environment.extend([authorities]);
        options.patience = patience;
        let tier = S3Tier::new(&options, Arc::new(SystemClock)).unwrap();
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        RetryTier::new(Arc::new(tier), clock, RetryPolicy::default())
    };
    let line = |certificate, rule: Option<Rule>| {
        let weather = rule.map_or_else(Weather::fair, |rule| Weather::fair().with(rule));
        Line::encrypted(moto.address(), weather, &certificate).unwrap()
    };
    let body = Bytes::from_static(b"body");
    let right = || known.certify("127.0.0.1", Validity::Valid);
    let well = line(right(), None);
    put(&tier(&well, Patience::default()), &body).await.unwrap();
    assert_eq!(get(&tier(&well, Patience::default())).await.unwrap(), body);

    for (certificate, word) in [
        (unknown.certify("127.0.0.1", Validity::Valid), "UnknownIssuer"),
        (known.certify("store.example", Validity::Valid), "not valid for name"),
        (known.certify("127.0.0.1", Validity::Over), "expired"),
    ] {
        let line = line(certificate, None);
        let tier = tier(&line, Patience::default());
        let error = put(&tier, &body).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
        assert!(text.contains("write repo/data/ab/abcd"), "{text}");
        assert!(text.contains("could not prove that it is the store"), "{text}");
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains(word), "{said}");
        assert!(error.hint().unwrap().to_string().contains("AWS_CA_BUNDLE"));
        assert_eq!((tier.retries(), line.carried().requests), (0, 0));
    }
    // A handshake that is never answered ends with the patience for a connection.
    let silent = line(right(), Some(Rule::connections(Trouble::Silence)));
    let silent_tier = tier(&silent, SHORT);
    let error = put(&silent_tier, &body).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(silent_tier.retries(), 5);
}
