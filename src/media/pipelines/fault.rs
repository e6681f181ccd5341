//! Faults on request, so that tests can see what a broken decoder costs. Compiled into debug builds only.
//!
//! `PLAYHOUSE_WORKER_FAULT=<crash|hang>:<inspect|remux|thumbnail|digest>:<file>` makes a worker crash or hang when it
//! starts on such a task, as often as the number in the file says; each time counts it down.
use crate::media::work::TaskKind;

#[cfg(not(debug_assertions))]
pub(super) fn inject(_: TaskKind) {}

#[cfg(debug_assertions)]
pub(super) fn inject(kind: TaskKind) {
    let Ok(fault) = std::env::var("PLAYHOUSE_WORKER_FAULT") else { return };
    let mut parts = fault.splitn(3, ':');
    let (Some(action), Some(wanted), Some(file)) = (parts.next(), parts.next(), parts.next()) else { return };
    let left = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(0);
    if wanted != kind.as_str() || left == 0 {
        return;
    }
    if std::fs::write(file, (left - 1).to_string()).is_err() {
        return;
    }
    match action {
        "crash" => std::process::abort(),
        "hang" => loop {
            std::thread::park();
        },
        _ => {}
    }
}
