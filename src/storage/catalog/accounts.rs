//! Accounts, their channels and the installation's secrets.
use async_trait::async_trait;
use serde_json::json;

use super::executor::{CommitError, Row};
use super::statement::{Statement, Transaction};
use super::{CatalogStore, EDIT_ATTEMPTS_MAX, contended};
use crate::domain::account::{Channel, Login, NewUser, ProfilePatch, Role, Rotation, User};
use crate::domain::events::NewEvent;
use crate::domain::ids::{LoginId, UserId};
use crate::domain::ports::{AccountCatalog, CatalogError};
use crate::domain::time::Timestamp;

const SELECT_USER: &str = "SELECT u.id, u.username, u.email, u.password_hash, u.display_name, u.avatar_url, u.role, \
    u.is_active, u.is_verified, u.revision, u.created_at, u.updated_at, c.id AS channel_id, c.name AS channel_name, \
    c.description AS channel_description, c.subscriber_count FROM users u JOIN channels c ON c.user_id = u.id";

/// The form names and addresses are compared in.
fn key_of(name: &str) -> String {
    name.trim().to_lowercase()
}

fn user_from(row: &Row) -> Result<User, CatalogError> {
    Ok(User {
        id: row.id("id")?,
        username: row.string("username")?,
        email: row.string("email")?,
        password_hash: row.string("password_hash")?,
        display_name: row.string("display_name")?,
        avatar_url: row.optional_string("avatar_url")?,
        channel: Channel {
            id: row.id("channel_id")?,
            name: row.string("channel_name")?,
            description: row.string("channel_description")?,
            subscriber_count: row.number("subscriber_count")?,
        },
        role: row.one_of("role", Role::parse)?,
        is_active: row.flag("is_active")?,
        is_verified: row.flag("is_verified")?,
        revision: row.number("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn taken(error: CommitError) -> CatalogError {
    match error {
        CommitError::Unique(what) if what.contains("username_key") => CatalogError::Conflict("username"),
        CommitError::Unique(what) if what.contains("email_key") => CatalogError::Conflict("email"),
        other => other.into(),
    }
}

fn insert_user(user: &NewUser, now: Timestamp) -> Statement {
    let insert = "INSERT INTO users (id, username, username_key, email, email_key, password_hash, display_name, role, \
        created_at, updated_at) VALUES (:id, :username, :username_key, :email, :email_key, :password_hash, \
        :display_name, :role, :now, :now)";
    Statement::new(insert)
        .bind("id", &user.id)
        .bind("username", user.username.as_str())
        .bind("username_key", key_of(user.username.as_str()))
        .bind("email", user.email.as_str())
        .bind("email_key", key_of(user.email.as_str()))
        .bind("password_hash", &user.password_hash)
        .bind("display_name", user.username.as_str())
        .bind("role", user.role)
        .bind("now", now)
}

fn insert_channel(user: &NewUser, now: Timestamp) -> Statement {
    let insert = "INSERT INTO channels (id, user_id, name, created_at) VALUES (:id, :user_id, :name, :created_at)";
    Statement::new(insert)
        .bind("id", &user.channel_id)
        .bind("user_id", &user.id)
        .bind("name", user.username.as_str())
        .bind("created_at", now)
}

fn patched(mut user: User, patch: ProfilePatch, now: Timestamp) -> User {
    user.display_name = patch.display_name.unwrap_or(user.display_name);
    user.email = patch.email.map_or(user.email, |email| email.as_str().to_owned());
    user.password_hash = patch.password_hash.unwrap_or(user.password_hash);
    user.channel.name = patch.channel_name.unwrap_or(user.channel.name);
    user.channel.description = patch.channel_description.unwrap_or(user.channel.description);
    user.revision += 1;
    user.updated_at = now;
    user
}

fn save_profile(user: &User, read_revision: u64) -> Transaction {
    let update_user = "UPDATE users SET display_name = :display_name, email = :email, email_key = :email_key, \
        password_hash = :password_hash, revision = :revision, updated_at = :updated_at \
        WHERE id = :id AND revision = :read_revision";
    let update_user = Statement::new(update_user)
        .bind("display_name", &user.display_name)
        .bind("email", &user.email)
        .bind("email_key", key_of(&user.email))
        .bind("password_hash", &user.password_hash)
        .bind("revision", user.revision)
        .bind("updated_at", user.updated_at)
        .bind("id", &user.id)
        .bind("read_revision", read_revision)
        .one_row("revision");
    let update_channel = Statement::new("UPDATE channels SET name = :name, description = :description WHERE id = :id")
        .bind("name", &user.channel.name)
        .bind("description", &user.channel.description)
        .bind("id", &user.channel.id);
    let event = NewEvent::new("user.updated", &user.id, json!({ "user_id": user.id }));
    Transaction::new().then(update_user).then(update_channel).event(event, user.updated_at)
}

impl CatalogStore {
    async fn existing_user(&self, id: &UserId) -> Result<User, CatalogError> {
        self.user(id).await?.ok_or(CatalogError::NotFound)
    }
}

#[async_trait]
impl AccountCatalog for CatalogStore {
    async fn register(&self, user: NewUser, now: Timestamp) -> Result<User, CatalogError> {
        let payload = json!({ "user_id": user.id, "username": user.username.as_str(), "role": user.role });
        let transaction = Transaction::new()
            .then(insert_user(&user, now))
            .then(insert_channel(&user, now))
            .event(NewEvent::new("user.registered", &user.id, payload), now);
        self.commit(transaction).await.map_err(taken)?;
        self.existing_user(&user.id).await
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, CatalogError> {
        let query = Statement::new(format!("{SELECT_USER} WHERE u.id = :id")).bind("id", id);
        self.row(query).await?.as_ref().map(user_from).transpose()
    }

    async fn user_by_name(&self, username_or_email: &str) -> Result<Option<User>, CatalogError> {
        // A name never holds an `@`, an address always does.
        let column = if username_or_email.contains('@') { "email_key" } else { "username_key" };
        let query = Statement::new(format!("{SELECT_USER} WHERE u.{column} = :key"));
        self.row(query.bind("key", key_of(username_or_email))).await?.as_ref().map(user_from).transpose()
    }

    async fn update_profile(
        &self,
        id: &UserId,
        patch: ProfilePatch,
        expected_revision: Option<u64>,
        now: Timestamp,
    ) -> Result<User, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let user = self.existing_user(id).await?;
            if expected_revision.is_some_and(|expected| expected != user.revision) {
                return Err(CatalogError::Stale);
            }
            let read_revision = user.revision;
            let user = patched(user, patch.clone(), now);
            match self.commit(save_profile(&user, read_revision)).await {
                Ok(_) => return Ok(user),
                Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(taken(error)),
            }
        }
        Err(contended())
    }

    async fn has_users(&self) -> Result<bool, CatalogError> {
        Ok(self.row(Statement::new("SELECT id FROM users ORDER BY id LIMIT 1")).await?.is_some())
    }

    async fn open_login(&self, login: Login) -> Result<(), CatalogError> {
        self.insert_login(login).await
    }

    async fn login(&self, id: &LoginId) -> Result<Option<Login>, CatalogError> {
        self.find_login(id).await
    }

    async fn rotate_refresh(
        &self,
        shown: &str,
        next: &str,
        address: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation, CatalogError> {
        self.rotate(super::logins::Refresh { shown, next, address, expires_at, now }).await
    }

    async fn logins(&self, user: &UserId) -> Result<Vec<Login>, CatalogError> {
        self.live_logins(user).await
    }

    async fn revoke_login(&self, user: &UserId, id: &LoginId, now: Timestamp) -> Result<(), CatalogError> {
        self.revoke_one(user, id, now).await
    }

    async fn revoke_logins(
        &self,
        user: &UserId,
        except: Option<&LoginId>,
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        self.revoke_all(user, except, now).await
    }

    async fn drop_ended_logins(&self, before: Timestamp) -> Result<u64, CatalogError> {
        self.delete_ended_logins(before).await
    }

    async fn record_event(&self, event: NewEvent, now: Timestamp) -> Result<(), CatalogError> {
        self.commit(Transaction::new().event(event, now)).await?;
        Ok(())
    }

    async fn secret(
        &self,
        name: &'static str,
        make: &(dyn Fn() -> Vec<u8> + Send + Sync),
    ) -> Result<Vec<u8>, CatalogError> {
        let query = || Statement::new("SELECT secret FROM secrets WHERE name = :name").bind("name", name);
        if let Some(row) = self.row(query()).await? {
            return row.blob("secret");
        }
        let insert = "INSERT INTO secrets (name, secret) VALUES (:name, :secret) ON CONFLICT (name) DO NOTHING";
        let insert = Statement::new(insert).bind("name", name).bind("secret", make());
        self.commit(Transaction::new().then(insert)).await?;
        self.row(query()).await?.ok_or(CatalogError::NotFound)?.blob("secret")
    }
}
