//! Several callers that commit random batches to a store at once, and what each was answered. Each
//! batch also counts up a record of its caller's own, so that a store shows by it which of the
//! caller's batches it holds.

use std::fmt::Write as _;

use fido_relay::ports::{Batch, Bucket, Due, Duty, Revision, Store, StoreError};
use fido_relay_proto::UnixMillis;

use crate::simulation::rng::Rng;

/// Buckets whose records all callers write.
const SHARED: [Bucket; 3] = [Bucket::Ceremonies, Bucket::Users, Bucket::Outbox];
/// The bucket of the records that all callers increment.
pub(super) const COUNTS: Bucket = Bucket::Keys;

/// A batch and its answer. Moments are what the caller's clock said then.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) batch: Batch,
    pub(super) submitted: usize,
    /// None: it was never answered.
    pub(super) answered: Option<(usize, Result<Revision, StoreError>)>,
}

/// The attempts of each caller, in its order.
pub(super) type History = Vec<Vec<Attempt>>;

pub(super) fn count_key(caller: usize) -> String {
    format!("caller{caller}")
}

/// Which attempt of its caller wrote this count.
pub(super) fn counted(value: &[u8]) -> usize {
    let number = value.first_chunk().expect("a count begins with its number");
    usize::try_from(u64::from_be_bytes(*number)).unwrap()
}

/// Commits `each` batches from each of `callers`, which all go on at once. A caller ends early when
/// the store is closed to it.
pub(super) async fn run(
    store: &dyn Store,
    clock: &(dyn Fn() -> usize + Sync),
    seed: u64,
    (callers, each): (usize, usize),
) -> History {
    let callers = (0..callers).map(|caller| async move {
        let mut rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(caller as u64));
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut count = Revision::ABSENT;
        for nth in 0..each {
            let batch = draw(store, &mut rng, (caller, nth), count).await;
            let submitted = clock();
            let answer = store.commit(batch.clone()).await;
            let answered = Some((clock(), answer.clone()));
            attempts.push(Attempt { batch, submitted, answered });
            match answer {
                Ok(revision) => count = revision,
                Err(StoreError::Fenced(_)) => break,
                Err(error) => {
                    refused(store, &attempts[nth], &error, (caller, count)).await;
                }
            }
        }
        attempts
    });
    futures::future::join_all(callers).await
}

/// What was refused is not there, and a conflict names one of the batch's other records.
async fn refused(
    store: &dyn Store,
    attempt: &Attempt,
    error: &StoreError,
    (caller, count): (usize, Revision),
) {
    if let Ok(found) = store.load(COUNTS, &count_key(caller)).await {
        let stands = found.map_or(Revision::ABSENT, |found| found.revision);
        assert_eq!(stands, count, "a batch of caller {caller} stands after {error}");
    }
    if let StoreError::Conflict(name) = error {
        let mut named = attempt.batch.changes().iter().map(|change| change.name());
        assert!(named.any(|of| of == *name && of.bucket != COUNTS), "{name} is no conflict");
    }
}

async fn draw(
    store: &dyn Store,
    rng: &mut Rng,
    (caller, nth): (usize, usize),
    count: Revision,
) -> Batch {
    let (bytes, due) = (value(rng, nth), due_of(rng));
    let mut batch = Batch::new().put_due(COUNTS, &count_key(caller), count, bytes, due);
    for _ in 0..rng.below(4) {
        let bucket = SHARED[rng.below(SHARED.len() as u64) as usize];
        let mut key = "key".to_owned();
        write!(key, "{}", rng.below(6)).unwrap();
        if batch.changes().iter().any(|change| *change.key == key && change.bucket == bucket) {
            continue;
        }
        let Ok(found) = store.load(bucket, &key).await else { continue };
        let found = found.map_or(Revision::ABSENT, |found| found.revision);
        let expected = if rng.happens(50) { Revision(found.0 + 1) } else { found };
        batch = match rng.below(6) {
            0 => batch.check(bucket, &key, expected),
            1 => batch.remove(bucket, &key, expected),
            _ => batch.put_due(bucket, &key, expected, value(rng, nth), due_of(rng)),
        };
    }
    batch
}

/// Mostly small, seldom larger than a page of any table.
fn value(rng: &mut Rng, nth: usize) -> Vec<u8> {
    let most = match rng.below(20) {
        0..15 => 120,
        15..19 => 3_000,
        _ => 20_000,
    };
    let mut value = (nth as u64).to_be_bytes().to_vec();
    let filler = rng.next().to_be_bytes();
    value.extend(filler.iter().cycle().take(rng.below(most) as usize));
    value
}

/// Times that often fall together.
fn due_of(rng: &mut Rng) -> Option<Due> {
    let duty = [Duty::Close, Duty::Remove][rng.below(2) as usize];
    let at = UnixMillis(rng.below(10));
    rng.happens(600).then_some(Due { duty, at })
}
