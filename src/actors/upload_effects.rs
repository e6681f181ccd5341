//! What an upload session has done outside: by the catalog, the store and the clock.
use super::uploads::Uploads;
use crate::domain::ids::UploadId;
use crate::domain::ports::BlobError;
use crate::domain::upload::error::{UploadError, UploadFault};
use crate::domain::upload::machine::{UploadEffect, UploadInput};
use crate::domain::upload::{Concatenation, Upload, UploadState};

/// Reads the record and the durable offset. A file that a crash kept from being made is made.
pub(super) async fn load(context: &Uploads, id: &UploadId) -> Result<(Box<Upload>, u64), UploadError> {
    let upload = context.catalog.upload(id).await?.ok_or(UploadError::NotFound)?;
    if upload.state != UploadState::Open || is_final(&upload) {
        return Ok((Box::new(upload), 0));
    }
    let offset = match context.store.offset(id).await {
        Err(BlobError::NotFound(_)) => {
            context.store.create(id).await?;
            0
        }
        other => other?,
    };
    Ok((Box::new(upload), offset))
}

/// Runs one effect; answers with what the machine is to be told.
pub(super) async fn run(effect: UploadEffect, context: &Uploads, upload: &Upload) -> Option<UploadInput> {
    Some(match effect {
        UploadEffect::StoreLength(length) => UploadInput::LengthStored(store_length(context, upload, length).await),
        UploadEffect::MeasureOffset => UploadInput::OffsetMeasured(offset(context, upload).await),
        UploadEffect::SyncOffset(token) => UploadInput::OffsetSynced(token, offset(context, upload).await),
        UploadEffect::Complete { declares } => UploadInput::Completed(complete(context, upload, declares).await),
        UploadEffect::Terminate(reason) => UploadInput::Terminated(terminate(context, upload, reason).await),
        UploadEffect::MoveExpiry(at) => {
            if let Err(error) = context.catalog.set_upload_expiry(&upload.id, at).await {
                tracing::warn!(upload.id = %upload.id, %error, "expiry of an upload not moved");
            }
            return None;
        }
        _ => return None,
    })
}

fn is_final(upload: &Upload) -> bool {
    matches!(upload.concatenation, Concatenation::Final(_))
}

async fn offset(context: &Uploads, upload: &Upload) -> Result<u64, UploadFault> {
    Ok(context.store.offset(&upload.id).await?)
}

async fn store_length(context: &Uploads, upload: &Upload, length: u64) -> Result<(), UploadFault> {
    Ok(context.catalog.set_upload_length(&upload.id, length, context.quota()).await?)
}

/// Seals the bytes without reading them and makes the video. A final upload's bytes are its parts'; those that its client has stored
/// by itself are taken over first.
async fn complete(context: &Uploads, upload: &Upload, declares: Option<u64>) -> Result<(), UploadFault> {
    if let Some(length) = declares {
        store_length(context, upload, length).await?;
    }
    context.take_parts(upload).await?;
    let extents = if is_final(upload) { Vec::new() } else { context.store.seal(&upload.id).await? };
    context.catalog.complete_upload(&upload.id, extents, context.clock.now()).await?;
    context.drop_parts(upload).await;
    Ok(())
}

/// The catalog first, then the bytes: what is left of them after a crash belongs to nobody and is swept up.
async fn terminate(context: &Uploads, upload: &Upload, reason: &'static str) -> Result<(), UploadFault> {
    context.catalog.terminate_upload(&upload.id, reason, context.clock.now()).await?;
    match reason {
        "expired" => metrics::counter!("playhouse_uploads_expired_total").increment(1),
        "terminated" => metrics::counter!("playhouse_uploads_terminated_total").increment(1),
        _ => metrics::counter!("playhouse_uploads_failed_total", "reason" => reason).increment(1),
    }
    tracing::info!(upload.id = %upload.id, reason, "upload ended");
    if let Err(error) = context.store.remove(&upload.id).await {
        tracing::warn!(upload.id = %upload.id, %error, "bytes of an ended upload not removed yet");
    }
    Ok(())
}
