//! The one connection besides the pool's that lasts as long as the server: it keeps servers out that may not be there at the same time, hears of events that were
//! committed, and sees to it that there is always a month to come.
use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_util::task::AbortOnDropHandle;

use super::tls::Tls;
use super::{PostgresOpenError, in_full, schema};

/// Held by the server that uses the database.
const LOCK: &str = "SELECT pg_try_advisory_lock(7814)";
/// The same by nodes of a cluster, all of which may.
const SHARED_LOCK: &str = "SELECT pg_try_advisory_lock_shared(7814)";
/// How whoever commits events tells.
pub(super) const TELL: &str = "SELECT pg_notify('playhouse_events', '')";
const LISTEN: &str = "LISTEN playhouse_events";
/// First pause before another connection is tried, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often it is looked for months to come.
const MONTHS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The session; ends with its owner.
pub(super) struct Session {
    told: watch::Receiver<u64>,
    _task: AbortOnDropHandle<()>,
}

impl Session {
    /// Begins; fails when another server has the database.
    pub(super) async fn begin(config: Config, tls: Tls, is_shared: bool) -> Result<Self, PostgresOpenError> {
        let (heard, told) = watch::channel(0);
        let attached = Attached::new((&config, &tls), &heard, is_shared).await?;
        let task = AbortOnDropHandle::new(tokio::spawn(hold(attached, (config, tls, is_shared), heard)));
        Ok(Self { told, _task: task })
    }

    /// Moves when events may have been committed.
    pub(super) fn told(&self) -> watch::Receiver<u64> {
        self.told.clone()
    }
}

/// A connection that holds the lock and listens.
struct Attached {
    client: Client,
    running: AbortOnDropHandle<Result<(), tokio_postgres::Error>>,
}

impl Attached {
    async fn new(
        (config, tls): (&Config, &Tls),
        heard: &watch::Sender<u64>,
        is_shared: bool,
    ) -> Result<Self, PostgresOpenError> {
        let unavailable = |error: tokio_postgres::Error| PostgresOpenError::Unavailable(in_full(&error));
        let (client, mut connection) = config.connect(tls.clone()).await.map_err(unavailable)?;
        let hears = heard.clone();
        let running = tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(_) = message? {
                    hears.send_modify(|count| *count += 1);
                }
            }
            Ok(())
        });
        let attached = Self { client, running: AbortOnDropHandle::new(running) };
        let row =
            attached.client.query_one(if is_shared { SHARED_LOCK } else { LOCK }, &[]).await.map_err(unavailable)?;
        if !row.try_get::<_, bool>(0).map_err(unavailable)? {
            return Err(PostgresOpenError::InUse);
        }
        attached.client.batch_execute(LISTEN).await.map_err(unavailable)?;
        // What was committed before is not told.
        heard.send_modify(|count| *count += 1);
        Ok(attached)
    }

    /// Until the connection ends.
    async fn hold(mut self) -> String {
        let mut months = tokio::time::interval(MONTHS_EVERY);
        loop {
            tokio::select! {
                ended = &mut self.running => return match ended {
                    Ok(Err(error)) => in_full(&error),
                    _ => "it was closed".to_owned(),
                },
                _ = months.tick() => {
                    if let Err(error) = self.client.batch_execute(schema::MONTHS).await {
                        tracing::warn!(error = in_full(&error), "the catalog has no new month yet");
                    }
                }
            }
        }
    }
}

/// Keeps a connection for as long as this runs.
async fn hold(mut attached: Attached, (config, tls, is_shared): (Config, Tls, bool), heard: watch::Sender<u64>) {
    loop {
        let reason = attached.hold().await;
        tracing::warn!(reason, "the connection to the catalog has ended, another one is tried");
        let mut pause = RETRY.0;
        attached = loop {
            tokio::time::sleep(pause).await;
            match Attached::new((&config, &tls), &heard, is_shared).await {
                Ok(attached) => break attached,
                Err(error) => tracing::debug!(%error, "no connection to the catalog"),
            }
            pause = (pause * 2).min(RETRY.1);
        };
        tracing::info!("connected to the catalog again");
    }
}
