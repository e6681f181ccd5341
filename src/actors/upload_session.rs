//! Upload session: one resumable upload from its first byte to a sealed original.
//! Supervised by `Uploads`; restarted from the catalog and the file's durable length, so nothing acknowledged is lost.
//! Body bytes never come here: a writer gets a lease, streams to the store in its own task and reports how it ended.
use std::collections::HashMap;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::describe::{DescribeReply, Description};
use super::reply::{AskError, Reply};
use super::upload_effects;
use super::upload_lease::{WriterLease, WriterProgress};
use super::uploads::Uploads;
use crate::domain::ids::UploadId;
use crate::domain::upload::Upload;
use crate::domain::upload::error::UploadError;
use crate::domain::upload::machine::{
    Answer, AppendEnd, Request, Token, UploadEffect, UploadInput, UploadMachine, UploadStatus,
};

/// Most messages kept while the upload is being read; more are refused as locked.
const HELD_MAX: usize = 32;

/// What a question comes to for the asker.
pub enum SessionAnswer {
    /// Append.
    Granted(WriterLease),
    /// This is how it stands.
    Status(UploadStatus),
}

/// The answer to a question about an upload.
pub type SessionReply = Reply<SessionAnswer, UploadError>;

/// What a session is told.
#[derive(RactorMessage)]
pub enum UploadMessage {
    /// A question.
    Ask {
        /// What is asked.
        request: Request,
        /// The answer.
        reply: SessionReply,
    },
    /// A writer has ended.
    AppendEnded {
        /// Which writer.
        generation: u64,
        /// How it ended.
        end: AppendEnd,
        /// How the upload stands then.
        reply: SessionReply,
    },
    /// A writer is gone without a word.
    WriterLost {
        /// Which writer.
        generation: u64,
    },
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
    /// The upload's record and durable offset were read.
    Loaded(Result<(Box<Upload>, u64), UploadError>),
    /// An effect is done, or a timer has run out.
    Input(UploadInput),
}

/// What a session is started with.
pub struct UploadArguments {
    /// Which upload.
    pub id: UploadId,
    /// What sessions need.
    pub context: Arc<Uploads>,
}

struct Ready {
    machine: UploadMachine,
    upload: Arc<Upload>,
    replies: HashMap<Token, SessionReply>,
    tokens: u64,
    writer: Option<(Arc<WriterProgress>, CancellationToken)>,
}

enum Stage {
    /// Messages that came before the upload was read, in order.
    Loading(Vec<UploadMessage>),
    Ready(Box<Ready>),
    /// Another node may have gone on with the upload meanwhile: it is being read again.
    Checking(Box<Ready>, Vec<UploadMessage>),
}

/// A session's own state.
pub struct UploadSessionState {
    id: UploadId,
    context: Arc<Uploads>,
    stage: Stage,
    /// Ends every writer of this incarnation with it: the next one starts from what is durable.
    writers: CancellationToken,
    _writers_guard: DropGuard,
}

/// The actor of one upload.
pub struct UploadSessionActor;

impl Actor for UploadSessionActor {
    type Msg = UploadMessage;
    type State = UploadSessionState;
    type Arguments = UploadArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let UploadArguments { id, context } = arguments;
        load(me, &context, &id);
        let writers = CancellationToken::new();
        let _writers_guard = writers.clone().drop_guard();
        Ok(UploadSessionState { id, context, stage: Stage::Loading(Vec::new()), writers, _writers_guard })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            UploadMessage::Loaded(loaded) => state.loaded(&me, loaded),
            message => state.take(&me, message),
        }
    }
}

impl UploadSessionState {
    fn loaded(
        &mut self,
        me: &ActorRef<UploadMessage>,
        loaded: Result<(Box<Upload>, u64), UploadError>,
    ) -> Result<(), ActorProcessingErr> {
        let held = match std::mem::replace(&mut self.stage, Stage::Loading(Vec::new())) {
            Stage::Loading(held) => held,
            Stage::Checking(ready, held) => return self.checked(me, (ready, held), loaded),
            ready @ Stage::Ready(_) => {
                self.stage = ready;
                return Ok(());
            }
        };
        let (upload, offset) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                held.into_iter().for_each(|message| refuse(message, &error));
                me.stop(None);
                return Ok(());
            }
        };
        let (machine, effects) = UploadMachine::new(&upload, offset, self.context.rules(), self.context.clock.now());
        let upload = Arc::from(upload);
        self.stage =
            Stage::Ready(Box::new(Ready { machine, upload, replies: HashMap::new(), tokens: 0, writer: None }));
        self.perform(me, effects)?;
        held.into_iter().try_for_each(|message| self.step(me, message))
    }

    /// Goes on if the upload is as it was; if not, whoever asked asks again, of a session that begins with how it is.
    fn checked(
        &mut self,
        me: &ActorRef<UploadMessage>,
        (ready, held): (Box<Ready>, Vec<UploadMessage>),
        read: Result<(Box<Upload>, u64), UploadError>,
    ) -> Result<(), ActorProcessingErr> {
        let is_known = read.map(|(upload, offset)| ready.machine.is_at(upload.state, offset));
        self.stage = Stage::Ready(ready);
        match is_known {
            Ok(true) => held.into_iter().try_for_each(|message| self.step(me, message))?,
            Ok(false) => me.stop(None),
            Err(error) => held.into_iter().for_each(|message| refuse(message, &error)),
        }
        Ok(())
    }

    fn take(&mut self, me: &ActorRef<UploadMessage>, message: UploadMessage) -> Result<(), ActorProcessingErr> {
        match &mut self.stage {
            Stage::Loading(held) | Stage::Checking(_, held) => {
                match held.len() < HELD_MAX {
                    true => held.push(message),
                    false => refuse(message, &UploadError::Locked),
                }
                Ok(())
            }
            Stage::Ready(ready) if self.context.nodes.is_cluster() && ready.is_to_be_checked_for(&message) => {
                if let Stage::Ready(ready) = std::mem::replace(&mut self.stage, Stage::Loading(Vec::new())) {
                    self.stage = Stage::Checking(ready, vec![message]);
                }
                load(me.clone(), &self.context, &self.id);
                Ok(())
            }
            Stage::Ready(_) => self.step(me, message),
        }
    }

    fn step(&mut self, me: &ActorRef<UploadMessage>, message: UploadMessage) -> Result<(), ActorProcessingErr> {
        let Stage::Ready(ready) = &mut self.stage else { return Ok(()) };
        let input = match message {
            UploadMessage::Ask { request, reply } => UploadInput::Ask(ready.open(reply), request),
            UploadMessage::AppendEnded { generation, end, reply } => {
                UploadInput::AppendEnded { token: ready.open(reply), generation, end }
            }
            UploadMessage::WriterLost { generation } => UploadInput::WriterLost { generation },
            UploadMessage::Input(input) => input,
            UploadMessage::Describe { reply } => {
                reply.send(Ok(Description::leaf("upload_session", &self.id, &ready.machine.snapshot())));
                return Ok(());
            }
            UploadMessage::Loaded(_) => return Ok(()),
        };
        if let Some((progress, _)) = &ready.writer {
            ready.machine.observe_writer(progress.bytes(), progress.last_byte_at());
        }
        let effects = ready.machine.step(input, self.context.clock.now());
        self.perform(me, effects)
    }

    fn perform(&mut self, me: &ActorRef<UploadMessage>, effects: Vec<UploadEffect>) -> Result<(), ActorProcessingErr> {
        for effect in effects {
            match effect {
                UploadEffect::Answer(token, answer) => self.answer(me, token, answer),
                UploadEffect::CancelWriter { .. } => self.cancel_writer(),
                UploadEffect::Announce => self.announce(),
                UploadEffect::Resumed => metrics::counter!("playhouse_uploads_resumed_total").increment(1),
                UploadEffect::StartTimer(timer, after) => {
                    me.send_after(after, move || UploadMessage::Input(UploadInput::TimerFired(timer)));
                }
                UploadEffect::Leave => me.stop(None),
                UploadEffect::Fail => return Err("the upload's durable offset cannot be read".into()),
                outside => self.spawn(me, outside),
            }
        }
        Ok(())
    }

    /// Runs an effect on catalog and store in a task of its own; what it comes to returns as a message.
    fn spawn(&self, me: &ActorRef<UploadMessage>, effect: UploadEffect) {
        let Stage::Ready(ready) = &self.stage else { return };
        let (me, context, upload) = (me.clone(), Arc::clone(&self.context), Arc::clone(&ready.upload));
        tokio::spawn(async move {
            if let Some(input) = upload_effects::run(effect, &context, &upload).await {
                let _ = me.cast(UploadMessage::Input(input));
            }
        });
    }

    fn answer(&mut self, me: &ActorRef<UploadMessage>, token: Token, answer: Result<Answer, UploadError>) {
        let Stage::Ready(ready) = &mut self.stage else { return };
        let Some(reply) = ready.replies.remove(&token) else { return };
        let answer = answer.map(|answer| match answer {
            Answer::Status(status) => SessionAnswer::Status(status),
            Answer::Granted(grant) => {
                let cancel = self.writers.child_token();
                let progress = Arc::new(WriterProgress::new(Arc::clone(&self.context.clock)));
                ready.writer = Some((Arc::clone(&progress), cancel.clone()));
                let upload = Arc::clone(&ready.upload);
                let context = Arc::clone(&self.context);
                SessionAnswer::Granted(WriterLease::new(grant, upload, context, (progress, cancel, me.clone())))
            }
        });
        reply.send(answer);
    }

    fn cancel_writer(&self) {
        if let Stage::Ready(ready) = &self.stage
            && let Some((_, cancel)) = &ready.writer
        {
            cancel.cancel();
        }
    }

    fn announce(&self) {
        let Stage::Ready(ready) = &self.stage else { return };
        metrics::counter!("playhouse_uploads_succeeded_total", "protocol" => ready.upload.protocol.as_str())
            .increment(1);
        tracing::info!(upload.id = %self.id, bytes = ready.machine.snapshot().offset, "upload complete");
        if let Some(video) = &ready.upload.video_id {
            (self.context.on_complete)(video.clone());
        }
    }
}

fn load(me: ActorRef<UploadMessage>, context: &Arc<Uploads>, id: &UploadId) {
    let (context, id) = (Arc::clone(context), id.clone());
    tokio::spawn(async move {
        let loaded = upload_effects::load(&context, &id).await;
        let _ = me.cast(UploadMessage::Loaded(loaded));
    });
}

impl Ready {
    /// Whoever writes here is the only one who does; between two writers another node may have had one.
    fn is_to_be_checked_for(&self, message: &UploadMessage) -> bool {
        matches!(message, UploadMessage::Ask { .. }) && self.machine.rests()
    }

    fn open(&mut self, reply: SessionReply) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.replies.insert(token, reply);
        token
    }
}

fn refuse(message: UploadMessage, error: &UploadError) {
    match message {
        UploadMessage::Ask { reply, .. } | UploadMessage::AppendEnded { reply, .. } => reply.send(Err(error.clone())),
        UploadMessage::Describe { reply } => reply.send(Err(AskError::Gone)),
        UploadMessage::WriterLost { .. } | UploadMessage::Loaded(_) | UploadMessage::Input(_) => {}
    }
}
