//! The encoding of a frame's payload: the last revision of its group, and each committed change of
//! the group. Numbers are little-endian.
//!
//! ```text
//!  group    revision (u64) · changes
//!  removal  0 · bucket · length of the key (u16) · key
//!  value    1 · bucket · length of the key (u16) · key · revision (u64) · due · length (u32) · value
//!  due      0, or the duty's number and its time in milliseconds (u64)
//! ```

use fido_relay_proto::UnixMillis;

use super::overlay::AppliedChange;
use crate::ports::{Bucket, Due, Duty, Revision, Stored};

/// Adds a change. Keys have at most 200 bytes and values at most a batch's, so lengths fit.
pub(super) fn encode(change: &AppliedChange, into: &mut Vec<u8>) {
    let AppliedChange { bucket, key, entry } = change;
    into.extend([u8::from(entry.is_some()), *bucket as u8]);
    into.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    into.extend(key.as_bytes());
    let Some(Stored { revision, value, due }) = entry else { return };
    into.extend(revision.0.to_le_bytes());
    match due {
        Some(Due { duty, at }) => {
            into.push(*duty as u8);
            into.extend(at.0.to_le_bytes());
        }
        None => into.push(0),
    }
    into.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    into.extend(value);
}

/// The content of a frame.
#[derive(Debug)]
pub(super) struct BatchGroup {
    pub(super) revision: u64,
    pub(super) changes: Vec<AppliedChange>,
}

/// The beginning of a payload, to which [`encode`] adds changes.
pub(super) fn begin(revision: u64) -> Vec<u8> {
    revision.to_le_bytes().to_vec()
}

/// Sets the group's last revision.
pub(super) fn set_revision(payload: &mut [u8], revision: u64) {
    if let Some(place) = payload.first_chunk_mut() {
        *place = revision.to_le_bytes();
    }
}

/// Decodes a payload; `None` if it is malformed.
pub(super) fn decode(mut bytes: &[u8]) -> Option<BatchGroup> {
    let revision = u64::from_le_bytes(take(&mut bytes)?);
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let [has_value, bucket] = take(&mut bytes)?;
        let bucket = bucket_of(bucket)?;
        let length = u16::from_le_bytes(take(&mut bytes)?);
        let key = std::str::from_utf8(take_slice(&mut bytes, length.into())?).ok()?.into();
        let entry = match has_value {
            0 => None,
            1 => {
                let revision = Revision(u64::from_le_bytes(take(&mut bytes)?));
                let due = match take(&mut bytes)? {
                    [0] => None,
                    [duty] => {
                        let at = UnixMillis(u64::from_le_bytes(take(&mut bytes)?));
                        Some(Due { duty: duty_of(duty)?, at })
                    }
                };
                let length = u32::from_le_bytes(take(&mut bytes)?);
                let value = take_slice(&mut bytes, usize::try_from(length).ok()?)?.to_vec();
                Some(Stored { revision, value, due })
            }
            _ => return None,
        };
        changes.push(AppliedChange { bucket, key, entry });
    }
    Some(BatchGroup { revision, changes })
}

pub(super) fn bucket_of(number: u8) -> Option<Bucket> {
    Bucket::ALL.into_iter().find(|bucket| *bucket as u8 == number)
}

pub(super) fn duty_of(number: u8) -> Option<Duty> {
    Duty::ALL.into_iter().find(|duty| *duty as u8 == number)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn take_slice<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
