//! Logs: text for people or one JSON object a line, filtered as the settings say, on standard error.
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::settings::LogSettings;

/// Installs the process's one subscriber; a second call changes nothing.
pub fn init(settings: &LogSettings) -> Result<(), ParseError> {
    // What strangers send is no reason to log: the crate would do so for each of their packets.
    let filter = EnvFilter::try_new(format!(
        "srt_protocol=off,rtc=off,rtc_ice=off,rtc_dtls=off,rtc_srtp=off,rtc_interceptor=off,rtc_sctp=off,rtc_shared=off,{}",
        settings.filter
    ))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = if settings.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    Ok(())
}
