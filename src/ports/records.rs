//! Typed records in JSON over the [`Store`] port: load, save, and the loop that every
//! compare-and-set needs. It knows no bucket's meaning.

use fido_relay_proto::text;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::Batch;
use super::store::Store;
use super::stored::{Bucket, Due, Revision, StoreError, Stored};

/// How often a lost race is run again before the store counts as unavailable. Each loss means that
/// another write went through, so this many in a row is a fault, not bad luck.
const RACES: usize = 64;

/// A value that is stored as a record.
pub trait Record: Serialize + DeserializeOwned {
    /// What the record is due for, given this value.
    fn due(&self) -> Option<Due> {
        None
    }
}

/// What a stored value is due for, for an index of records that were written without one.
#[must_use]
pub fn due_of<T: Record>(record: &[u8]) -> Option<Due> {
    decode::<T>(record).ok()?.due()
}

/// Decodes a record, of this version or an earlier one.
///
/// # Errors
/// If its value is not the form that was written.
pub fn decode<T: DeserializeOwned>(record: &[u8]) -> serde_json::Result<T> {
    text::read_stored(|| serde_json::from_slice(record))
}

/// Reads a stored value.
///
/// # Errors
/// [`StoreError::Unavailable`] if its value is not the form that was written.
pub fn parse<T: DeserializeOwned>(stored: &Stored) -> Result<T, StoreError> {
    decode(&stored.value)
        .map_err(|error| StoreError::Unavailable(format!("a record cannot be read: {error}")))
}

/// The record and its revision, if there is one.
///
/// # Errors
/// As [`Store::load`], and for a record that cannot be read.
pub async fn load<T: Record>(
    store: &dyn Store,
    bucket: Bucket,
    key: &str,
) -> Result<Option<(T, Revision)>, StoreError> {
    match store.load(bucket, key).await? {
        Some(stored) => Ok(Some((parse(&stored)?, stored.revision))),
        None => Ok(None),
    }
}

/// Adds the record's new value to a batch.
///
/// # Errors
/// If it has no JSON form.
pub fn put<T: Record>(
    batch: Batch,
    bucket: Bucket,
    key: &str,
    expected: Revision,
    value: &T,
) -> Result<Batch, StoreError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| StoreError::Unavailable(format!("a record has no JSON form: {error}")))?;
    Ok(batch.put_due(bucket, key, expected, bytes, value.due()))
}

/// Writes the record if it is at `expected`.
///
/// # Errors
/// As [`Store::save`].
pub async fn save<T: Record + Sync>(
    store: &dyn Store,
    bucket: Bucket,
    key: &str,
    expected: Revision,
    value: &T,
) -> Result<Revision, StoreError> {
    store.commit(put(Batch::new(), bucket, key, expected, value)?).await
}

/// Creates a record unless it exists: `true` for exactly one of any number of writers on any nodes.
///
/// # Errors
/// As [`Store::save`]; then the record may have been written.
pub async fn save_first<T: Record + Sync>(
    store: &dyn Store,
    bucket: Bucket,
    key: &str,
    value: &T,
) -> Result<bool, StoreError> {
    match save(store, bucket, key, Revision::ABSENT, value).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Loads, changes and saves a record until no other write came between. `change` gets the record
/// or its default, and may be called several times; with `Err` nothing is written.
///
/// # Errors
/// What `change` refused with, inside; a store that does not do it, outside.
pub async fn update<T, R, E>(
    store: &dyn Store,
    bucket: Bucket,
    key: &str,
    mut change: impl FnMut(&mut T) -> Result<R, E> + Send,
) -> Result<Result<R, E>, StoreError>
where
    T: Record + Default + Send + Sync,
    R: Send,
    E: Send,
{
    for _ in 0..RACES {
        let (mut value, revision) =
            load::<T>(store, bucket, key).await?.unwrap_or((T::default(), Revision::ABSENT));
        let done = match change(&mut value) {
            Ok(done) => done,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match save(store, bucket, key, revision, &value).await {
            Ok(_) => return Ok(Ok(done)),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::too_many_races())
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::Username;

    use super::*;

    #[test]
    fn a_name_that_an_earlier_version_took_is_still_read() {
        for record in [&br#"" ada""#[..], br#""a  b""#] {
            assert!(serde_json::from_slice::<Username>(record).is_err());
            assert!(decode::<Username>(record).is_ok());
            let stored = Stored { revision: Revision::ABSENT, value: record.into(), due: None };
            assert!(parse::<Username>(&stored).is_ok());
        }
    }
}
