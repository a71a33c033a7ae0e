//! Which endpoints there are.

use fido_relay_proto::{ClientId, TenantId, WebhookId};

use super::endpoint::{self, Endpoint, EndpointKey};
use super::{WebhookError, Webhooks};
use crate::ports::StoreError;

impl Webhooks {
    /// The client's endpoints, in the order of their ids.
    pub async fn list(
        &self,
        tenant: &TenantId,
        client: ClientId,
    ) -> Result<Vec<Endpoint>, StoreError> {
        endpoint::list(&*self.ground.store, tenant, Some(client)).await
    }

    /// The endpoints of all clients.
    pub async fn list_all(&self, tenant: &TenantId) -> Result<Vec<Endpoint>, StoreError> {
        endpoint::list(&*self.ground.store, tenant, None).await
    }

    /// The endpoint of any client.
    pub async fn find(
        &self,
        tenant: &TenantId,
        id: WebhookId,
    ) -> Result<Option<Endpoint>, StoreError> {
        let all = self.list_all(tenant).await?;
        Ok(all.into_iter().find(|endpoint| endpoint.id == id))
    }

    /// One endpoint of the client.
    pub async fn load(
        &self,
        tenant: &TenantId,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Endpoint, WebhookError> {
        let key = EndpointKey { tenant: tenant.clone(), client, id };
        let found = endpoint::load(&*self.ground.store, &key).await?;
        found.map(|(endpoint, _)| endpoint).ok_or(WebhookError::NotFound)
    }
}
