//! The commit of a ceremony, and what every node hears of it.

use std::sync::atomic::Ordering;

use fido_relay_proto::{Reason, WireName};

use super::{Ceremonies, CeremonyDependencies, record, user_of};
use crate::core::ceremony::{Ceremony, Fact, FactKind, Request};
use crate::fault_point::{self, Point};
use crate::ports::{Batch, ExportHealth, Notice, Revision, StoreError};

impl Ceremonies {
    /// The only place that stores a ceremony; `facts` are all that happened since `expected`. Its
    /// end is one commit with what the end means for the user's prompt state: a "no" holds before
    /// devices and watchers hear of it, and no ended ceremony counts as open.
    pub(super) async fn commit(
        &self,
        records: Batch,
        expected: Revision,
        ceremony: &Ceremony,
        facts: &[Fact],
    ) -> Result<Revision, StoreError> {
        let CeremonyDependencies { journal, counts, .. } = self.dependencies();
        let mut batch = record::put(records, expected, ceremony)?;
        batch = journal.append_facts(batch, ceremony, facts);
        let user = user_of(&ceremony.request);
        let turn = if facts.iter().any(|fact| matches!(fact.kind, FactKind::Closed { .. })) {
            let turn = self.state.prompt_states.take(user.as_str()).await;
            batch = self.count_end(batch, ceremony, facts).await?;
            Some(turn)
        } else {
            None
        };
        // Before the commit: once it is stored, a look may see the end and give the slot back.
        let is_first = self.state.slots.count(ceremony);
        let committed = self.commit_noted(batch).await;
        drop(turn);
        if committed.is_err() && is_first {
            self.state.slots.discount(ceremony.request.id);
        }
        let revision = committed?;
        if is_first && !matches!(facts.first(), Some(Fact { kind: FactKind::Opened, .. })) {
            counts.taken_up();
        }
        counts.committed(ceremony, facts);
        Ok(revision)
    }

    /// Commits, and notes whether the store takes commits.
    pub(super) async fn commit_noted(&self, batch: Batch) -> Result<Revision, StoreError> {
        let committed = self.store().commit(batch).await;
        let is_refused = match &committed {
            Ok(_) | Err(StoreError::Conflict(_)) => false,
            Err(StoreError::Unavailable(_) | StoreError::Fenced(_)) => true,
        };
        self.state.store_refuses.store(is_refused, Ordering::Relaxed);
        committed
    }

    /// Whether the store refused this node's last commit.
    pub(super) fn store_refuses(&self) -> bool {
        self.state.store_refuses.load(Ordering::Relaxed)
    }

    /// Refuses what would lead to an approval while the audit log must have everything and cannot.
    pub(super) fn must_be_recordable(&self) -> Result<(), StoreError> {
        match *self.dependencies().recording.borrow() {
            ExportHealth::Healthy | ExportHealth::Failing => Ok(()),
            ExportHealth::Blocking => {
                Err(StoreError::Unavailable("what happens now could not be recorded".to_owned()))
            }
        }
    }

    /// Keeps this node's own knowledge of a state that was just stored, and has every node look.
    pub(super) async fn announce(&self, ceremony: &Ceremony) {
        log_end(ceremony);
        self.remember(ceremony);
        let accepted = ceremony.closed().and_then(|closed| closed.accepted);
        if let Some((_, device, _)) = accepted {
            self.dependencies().observer.answer_decided(ceremony.request.id, device);
        }
        self.publish(&ceremony.request).await;
    }

    pub(super) async fn publish(&self, request: &Request) {
        let notice = Notice::Ceremony(request.tenant.clone(), request.id);
        self.dependencies().bus.publish(notice).await;
    }
}

fn log_end(ceremony: &Ceremony) {
    let Some(closed) = ceremony.closed() else { return };
    fault_point::reached(Point::Closed);
    tracing::info!(
        ceremony = %ceremony.request.id,
        client = %ceremony.request.client_id,
        ceremony_type = %WireName(ceremony.request.ceremony_type),
        outcome = %WireName(closed.outcome),
        reason = closed.reason.map(Reason::code),
        "ceremony closed",
    );
}
