//! Which sign-ins are still good, so that the access tokens of a revoked one stop working at once and not after their
//! fifteen minutes.
//!
//! Asking the catalog on every request would put it on the hot path; a short memory takes that load off. Revocations
//! made here empty the memory at once, one made on another node when the change feed tells of it; where that is not read,
//! when the entry's time is over.
use std::time::Duration;

use crate::domain::account::{Login, Role, User};
use crate::domain::ids::{LoginId, UserId};
use crate::domain::ports::{Catalog, CatalogError};
use crate::domain::time::Timestamp;
use crate::http::memory::Memory;

/// How long another node's revocation may go unnoticed here while the change feed is not read.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Sign-ins remembered at most; about 200 bytes each.
const LOGINS_MAX: u64 = 50_000;

/// What is remembered of a sign-in that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginState {
    /// Whose it is.
    pub(crate) user_id: UserId,
    /// What the account may do now.
    pub(crate) role: Role,
    /// When it ends by itself.
    expires_at: Timestamp,
}

/// The memory.
pub(crate) struct LoginStates {
    good: Memory<LoginId, LoginState>,
}

impl Default for LoginStates {
    fn default() -> Self {
        Self { good: Memory::new(LOGINS_MAX, REMEMBERED) }
    }
}

impl LoginStates {
    /// The sign-in's state, or `None` when it is not good (any more).
    pub(crate) async fn find(
        &self,
        catalog: &dyn Catalog,
        id: &LoginId,
        now: Timestamp,
    ) -> Result<Option<LoginState>, CatalogError> {
        let state = match self.good.get(id) {
            Some(state) => Some(state),
            None => self.load(catalog, id).await?,
        };
        Ok(state.filter(|state| now < state.expires_at))
    }

    async fn load(&self, catalog: &dyn Catalog, id: &LoginId) -> Result<Option<LoginState>, CatalogError> {
        let ticket = self.good.ticket();
        let Some(login) = catalog.login(id).await?.filter(|login| login.revoked_at.is_none()) else {
            return Ok(None);
        };
        let Some(user) = catalog.user(&login.user_id).await?.filter(|user| user.is_active) else { return Ok(None) };
        let state = LoginState::of(&login, &user);
        self.good.remember(ticket, id.clone(), state.clone());
        Ok(Some(state))
    }

    /// Forgets everything: after any revocation or change of a role. Reloading is cheap and revocations are rare.
    pub(crate) fn forget_all(&self) {
        self.good.forget_all();
    }
}

impl LoginState {
    fn of(login: &Login, user: &User) -> Self {
        Self { user_id: user.id.clone(), role: user.role, expires_at: login.expires_at }
    }
}
