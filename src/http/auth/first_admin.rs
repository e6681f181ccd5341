//! The first administrator: made when no account exists, with a random password that is kept in a file until it is changed.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::passwords::Passwords;
use crate::domain::account::{Email, NewUser, Role, Username};
use crate::domain::ids::{ChannelId, UserId};
use crate::domain::ports::{Catalog, CatalogError, Clock, Entropy};
use crate::domain::video::InvalidField;

/// Its name.
pub(crate) const FIRST_ADMIN: &str = "admin";
/// Random bytes of its password: 20 or 21 characters to type.
const PASSWORD_ENTROPY_BYTES: usize = 15;

/// The first administrator could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The password could not be hashed.
    #[error("{0}")]
    Hash(String),
    /// The name or address is not acceptable to the catalog.
    #[error(transparent)]
    Field(#[from] InvalidField),
}

/// Where the password is kept until it is changed.
fn password_file(data_dir: &Path) -> PathBuf {
    data_dir.join("first-run-admin.txt")
}

/// Makes the account `admin` when there is no account at all. Returns its password for the caller to print; it is also in
/// `<data>/first-run-admin.txt` (0600) until it is changed. The file is written first: a crash between the two leaves a
/// password without an account, which the next start replaces, and never an account nobody can enter.
pub async fn ensure_first_admin(
    catalog: &dyn Catalog,
    (clock, entropy): (&dyn Clock, &dyn Entropy),
    data_dir: &Path,
) -> Result<Option<String>, FirstAdminError> {
    if catalog.has_users().await? {
        return Ok(None);
    }
    let mut bytes = [0; PASSWORD_ENTROPY_BYTES];
    entropy.fill(&mut bytes);
    let password = bs58::encode(bytes).into_string();
    let hashed = Passwords::new(1).hash(&password, entropy).await;
    let new_user = NewUser {
        id: UserId::random(entropy),
        channel_id: ChannelId::random(entropy),
        username: Username::parse(FIRST_ADMIN)?,
        email: Email::parse("admin@localhost")?,
        password_hash: hashed.map_err(|error| FirstAdminError::Hash(error.to_string()))?,
        role: Role::Admin,
    };
    let path = password_file(data_dir);
    write_password(&path, &password).map_err(|source| FirstAdminError::File { path, source })?;
    catalog.register(new_user, clock.now()).await?;
    Ok(Some(password))
}

fn write_password(path: &Path, password: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "username: {FIRST_ADMIN}\npassword: {password}")?;
    file.sync_all()
}

/// The first administrator's password was changed: the file holds nothing true any more.
pub(crate) fn forget_password_file(data_dir: &Path) {
    let path = password_file(data_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "the first administrator's old password could not be removed");
        }
        _ => {}
    }
}
