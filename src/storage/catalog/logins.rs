//! Sign-ins: families of refresh tokens. The newest token of a family is good once; any older one shown again means that
//! a token was stolen, and ends the family.
use serde_json::json;

use super::executor::{CommitError, Row};
use super::statement::{Statement, Transaction};
use super::{CatalogStore, EDIT_ATTEMPTS_MAX, contended};
use crate::domain::account::{Login, Rotation};
use crate::domain::events::NewEvent;
use crate::domain::ids::{LoginId, UserId};
use crate::domain::ports::CatalogError;
use crate::domain::time::Timestamp;

const LOGIN_COLUMNS: &str = "l.id, l.user_id, l.refresh_hash, l.previous_hash, l.is_browser, l.user_agent, l.address, \
    l.created_at, l.used_at, l.expires_at, l.revoked_at";

/// One use of a refresh token.
pub(super) struct Refresh<'a> {
    /// Hash of the token shown.
    pub(super) shown: &'a str,
    /// Hash of the one that replaces it.
    pub(super) next: &'a str,
    /// Where the request came from.
    pub(super) address: &'a str,
    /// When the new one expires.
    pub(super) expires_at: Timestamp,
    /// Now.
    pub(super) now: Timestamp,
}

fn login_from(row: &Row) -> Result<Login, CatalogError> {
    Ok(Login {
        id: row.id("id")?,
        user_id: row.id("user_id")?,
        refresh_hash: row.string("refresh_hash")?,
        previous_hash: row.optional_string("previous_hash")?,
        is_browser: row.flag("is_browser")?,
        user_agent: row.string("user_agent")?,
        address: row.string("address")?,
        created_at: row.time("created_at")?,
        used_at: row.time("used_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.optional_time("revoked_at")?,
    })
}

fn insert_login(login: &Login) -> Statement {
    let insert = "INSERT INTO logins (id, user_id, refresh_hash, previous_hash, is_browser, user_agent, address, \
        created_at, used_at, expires_at, revoked_at) VALUES (:id, :user_id, :refresh_hash, :previous_hash, :is_browser, \
        :user_agent, :address, :created_at, :used_at, :expires_at, :revoked_at)";
    Statement::new(insert)
        .bind("id", &login.id)
        .bind("user_id", &login.user_id)
        .bind("refresh_hash", &login.refresh_hash)
        .bind("previous_hash", login.previous_hash.as_ref())
        .bind("is_browser", login.is_browser)
        .bind("user_agent", &login.user_agent)
        .bind("address", &login.address)
        .bind("created_at", login.created_at)
        .bind("used_at", login.used_at)
        .bind("expires_at", login.expires_at)
        .bind("revoked_at", login.revoked_at)
}

fn rotation_of(login: &Login, refresh: &Refresh<'_>) -> Transaction {
    let update = "UPDATE logins SET refresh_hash = :next, previous_hash = :shown, address = :address, used_at = :now, \
        expires_at = :expires_at WHERE id = :id AND refresh_hash = :shown AND revoked_at IS NULL";
    let update = Statement::new(update)
        .bind("next", refresh.next)
        .bind("shown", refresh.shown)
        .bind("address", refresh.address)
        .bind("now", refresh.now)
        .bind("expires_at", refresh.expires_at)
        .bind("id", &login.id)
        .one_row("current token");
    let spend = "INSERT INTO spent_refresh_tokens (refresh_hash, login_id, spent_at) VALUES (:hash, :login, :now)";
    let spend = Statement::new(spend).bind("hash", refresh.shown).bind("login", &login.id).bind("now", refresh.now);
    Transaction::new().then(update).then(spend)
}

fn revocation_of(login: &Login, refresh: &Refresh<'_>) -> Transaction {
    let payload = json!({ "login_id": login.id, "user_id": login.user_id, "address": refresh.address });
    let update = Statement::new("UPDATE logins SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL")
        .bind("now", refresh.now)
        .bind("id", &login.id)
        .one_row("live family");
    Transaction::new().then(update).event(NewEvent::new("auth.refresh_reused", &login.id, payload), refresh.now)
}

fn is_live(login: &Login, now: Timestamp) -> bool {
    login.revoked_at.is_none() && login.expires_at > now
}

impl CatalogStore {
    pub(super) async fn insert_login(&self, login: Login) -> Result<(), CatalogError> {
        let payload = json!({ "login_id": login.id, "user_id": login.user_id, "address": login.address });
        let transaction = Transaction::new()
            .then(insert_login(&login))
            .event(NewEvent::new("auth.login", &login.id, payload), login.created_at);
        self.commit(transaction).await?;
        Ok(())
    }

    pub(super) async fn find_login(&self, id: &LoginId) -> Result<Option<Login>, CatalogError> {
        let query = Statement::new(format!("SELECT {LOGIN_COLUMNS} FROM logins l WHERE l.id = :id")).bind("id", id);
        self.row(query).await?.as_ref().map(login_from).transpose()
    }

    /// The family whose newest token this is, and the one that has spent it.
    async fn families_of(&self, hash: &str) -> Result<(Option<Login>, Option<Login>), CatalogError> {
        let current = format!("SELECT {LOGIN_COLUMNS} FROM logins l WHERE l.refresh_hash = :hash");
        let spent = format!(
            "SELECT {LOGIN_COLUMNS} FROM spent_refresh_tokens s JOIN logins l ON l.id = s.login_id \
             WHERE s.refresh_hash = :hash"
        );
        let queries = [current, spent].map(|sql| Statement::new(sql).bind("hash", hash)).into();
        let mut answers = self.executor.read(queries).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default().first().map(login_from).transpose();
        Ok((next()?, next()?))
    }

    pub(super) async fn rotate(&self, refresh: Refresh<'_>) -> Result<Rotation, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let (transaction, outcome) = match self.families_of(refresh.shown).await? {
                (Some(login), _) if is_live(&login, refresh.now) => {
                    let transaction = rotation_of(&login, &refresh);
                    let rotated = Login {
                        refresh_hash: refresh.next.to_owned(),
                        previous_hash: Some(refresh.shown.to_owned()),
                        address: refresh.address.to_owned(),
                        used_at: refresh.now,
                        expires_at: refresh.expires_at,
                        ..login
                    };
                    (transaction, Rotation::Rotated(rotated))
                }
                (None, Some(login)) if is_live(&login, refresh.now) => {
                    let transaction = revocation_of(&login, &refresh);
                    (transaction, Rotation::Reused(Login { revoked_at: Some(refresh.now), ..login }))
                }
                _ => return Ok(Rotation::Refused),
            };
            match self.commit(transaction).await {
                Ok(_) => return Ok(outcome),
                // Another request has used or revoked it in between: look again, with what is there now.
                Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    pub(super) async fn live_logins(&self, user: &UserId) -> Result<Vec<Login>, CatalogError> {
        let query = format!(
            "SELECT {LOGIN_COLUMNS} FROM logins l WHERE l.user_id = :user AND l.revoked_at IS NULL \
             ORDER BY l.created_at DESC, l.id DESC"
        );
        self.rows(Statement::new(query).bind("user", user)).await?.iter().map(login_from).collect()
    }

    pub(super) async fn revoke_one(&self, user: &UserId, id: &LoginId, now: Timestamp) -> Result<(), CatalogError> {
        let update = "UPDATE logins SET revoked_at = :now WHERE id = :id AND user_id = :user AND revoked_at IS NULL \
            AND expires_at > :now";
        let update = Statement::new(update).bind("now", now).bind("id", id).bind("user", user).one_row("live sign-in");
        let event = NewEvent::new("auth.login_revoked", id, json!({ "login_id": id, "user_id": user }));
        match self.commit(Transaction::new().then(update).event(event, now)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Unmet(_)) => Err(CatalogError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn revoke_all(
        &self,
        user: &UserId,
        except: Option<&LoginId>,
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        let update = "UPDATE logins SET revoked_at = :now WHERE user_id = :user AND revoked_at IS NULL \
            AND expires_at > :now AND id <> :except";
        let update = Statement::new(update)
            .bind("now", now)
            .bind("user", user)
            .bind("except", except.map_or("", LoginId::as_str));
        let event = NewEvent::new("auth.logins_revoked", user, json!({ "user_id": user, "except": except }));
        let rows = self.commit(Transaction::new().then(update).event(event, now)).await?;
        Ok(rows.first().copied().unwrap_or(0))
    }

    pub(super) async fn delete_ended_logins(&self, before: Timestamp) -> Result<u64, CatalogError> {
        let expired = Statement::new("DELETE FROM logins WHERE expires_at < :before").bind("before", before);
        let revoked = Statement::new("DELETE FROM logins WHERE revoked_at < :before").bind("before", before);
        Ok(self.commit(Transaction::new().then(expired).then(revoked)).await?.iter().sum())
    }
}
