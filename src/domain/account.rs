//! Accounts, their channel, and the devices they are signed in on.
use serde::{Deserialize, Serialize};

use super::ids::{ChannelId, LoginId, UserId};
use super::time::Timestamp;
use super::video::{InvalidField, text_enum};

text_enum!(
    /// What an account may do. Each role may do all that the ones before it may.
    Role {
        /// Watch, comment, keep a history.
        Viewer = "viewer",
        /// Upload and go live.
        Creator = "creator",
        /// Review reports, hide others' content.
        Moderator = "moderator",
        /// Everything.
        Admin = "admin",
    }
);

impl Role {
    /// Whether this role includes `other`.
    pub fn includes(self, other: Role) -> bool {
        self as u8 >= other as u8
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Unique name, compared without case.
    pub username: String,
    /// Unique address, compared without case.
    pub email: String,
    /// Argon2id PHC string. Never leaves the server.
    pub password_hash: String,
    /// Name shown to others.
    pub display_name: String,
    /// Picture, when there is one.
    pub avatar_url: Option<String>,
    /// Its channel.
    pub channel: Channel,
    /// What it may do.
    pub role: Role,
    /// A deactivated account is refused and hidden.
    pub is_active: bool,
    /// Whether its channel carries the verified badge.
    pub is_verified: bool,
    /// Increases with each change; what ETags are made of.
    pub revision: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// A channel: what videos, streams and playlists belong to. Registering makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// Name shown to others.
    pub name: String,
    /// Description.
    pub description: String,
    /// Subscribers.
    pub subscriber_count: u64,
}

/// What registering stores.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// The id of the channel made with it.
    pub channel_id: ChannelId,
    /// Unique name.
    pub username: Username,
    /// Unique address.
    pub email: Email,
    /// Argon2id PHC string.
    pub password_hash: String,
    /// What it may do.
    pub role: Role,
}

/// A change to one's own profile; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfilePatch {
    /// Name shown to others.
    pub display_name: Option<String>,
    /// New address.
    pub email: Option<Email>,
    /// Channel name.
    pub channel_name: Option<String>,
    /// Channel description.
    pub channel_description: Option<String>,
    /// New password's Argon2id PHC string.
    pub password_hash: Option<String>,
}

/// One signed-in device: a family of refresh tokens of which only the newest is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Its id; the `sid` claim of access tokens.
    pub id: LoginId,
    /// Whose it is.
    pub user_id: UserId,
    /// SHA-256 of the current refresh token, hex.
    pub refresh_hash: String,
    /// SHA-256 of the one before it: its use means that one of the two was stolen.
    pub previous_hash: Option<String>,
    /// Whether the refresh token lives in a browser's cookie.
    pub is_browser: bool,
    /// `User-Agent` at sign-in, shortened.
    pub user_agent: String,
    /// Address at the last refresh.
    pub address: String,
    /// When the device signed in.
    pub created_at: Timestamp,
    /// Last refresh.
    pub used_at: Timestamp,
    /// When it signs out by itself.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What rotating a refresh token came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The new token is stored and the old one is spent.
    Rotated(Login),
    /// A spent token was shown: the whole family is now revoked.
    Reused(Login),
    /// No such token, or its family was revoked or has expired.
    Refused,
}

/// A user name: 3 to 50 characters of letters, digits, `_`, `-`, `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Checks length and alphabet.
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        let chars = text.chars().count();
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !(3..=50).contains(&chars) || !text.chars().all(allowed) {
            let message = "must have 3 to 50 letters, digits, '_', '-' or '.'".to_owned();
            return Err(InvalidField { field: "username", message });
        }
        Ok(Self(text.to_owned()))
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail address: one `@`, no spaces, at most 255 characters. Whether it receives mail only mail can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        let good = text.len() <= 255
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && text
                .split_once('@')
                .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'));
        if !good {
            return Err(InvalidField {
                field: "email",
                message: "must be an address like name@example.org".to_owned(),
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shortest password, characters (NIST SP 800-63B: at least 8).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password, bytes: bounds the hashing work.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Checks a new password's length; there are no composition rules.
pub fn check_password(password: &str) -> Result<(), InvalidField> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        let message =
            format!("must have at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes");
        return Err(InvalidField { field: "password", message });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_lesser_ones() {
        assert!(Role::Admin.includes(Role::Creator) && Role::Creator.includes(Role::Creator));
        assert!(!Role::Viewer.includes(Role::Creator));
    }

    #[test]
    fn names_and_addresses_are_checked() {
        assert!(
            Username::parse("jöhn.doe").is_ok() && Username::parse("a b c").is_err() && Username::parse("ab").is_err()
        );
        assert!(Email::parse("a@b").is_ok() && Email::parse("@b").is_err() && Email::parse("a@b@c").is_err());
        assert!(check_password("short").is_err() && check_password("long enough").is_ok());
    }
}
