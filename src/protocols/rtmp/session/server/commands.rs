//! Commands of encoders and players, in the order and with the oddities in which they come.
use std::time::Instant;

use super::super::super::wire::amf::Amf;
use super::super::super::wire::message::Command;
use super::super::status::{code, status};
use super::super::{Capabilities, Phase, Rejection, StreamTarget};
use super::{App, ConnectInfo, Direction, ServerEvent, ServerSession, State, StreamRequest};

/// What servers call themselves towards encoders that look for a number.
const SERVER_VERSION: &str = "FMS/3,5,7,7009";
/// Capabilities of that server.
const SERVER_CAPABILITIES: f64 = 31.0;

impl ServerSession {
    pub(super) fn command(&mut self, stream: u32, command: Command, now: Instant) -> Option<ServerEvent> {
        if let State::Connecting = self.state {
            // Whatever comes before is of no use without an application.
            return if command.name == "connect" { self.connect(&command, now) } else { None };
        }
        match command.name.as_str() {
            "createStream" => self.create_stream(&command),
            "publish" => return self.request(Direction::Publish, stream, &command),
            "play" => return self.request(Direction::Play, stream, &command),
            "FCPublish" => {
                self.app.announces = true;
                self.answer(&command, Amf::Undefined);
            }
            "FCUnpublish" => {
                self.answer(&command, Amf::Undefined);
                let ended = status("status", code::UNPUBLISH_SUCCESS, "Stopped.");
                self.link.command(0, Command::new("onFCUnpublish", 0.0, Amf::Null).with(ended));
                return self.ended(now);
            }
            "deleteStream" | "closeStream" => return self.close_stream(stream, &command, now),
            "getStreamLength" => self.answer(&command, Amf::Number(0.0)),
            "_result" | "_error" | "onStatus" => {}
            // releaseStream, _checkbw and whatever else encoders call: they wait for an answer or do not mind one.
            _ => self.answer(&command, Amf::Undefined),
        }
        None
    }

    fn answer(&mut self, call: &Command, value: Amf) {
        if call.transaction != 0.0 {
            self.link.command(0, Command::new("_result", call.transaction, Amf::Null).with(value));
        }
    }

    fn connect(&mut self, command: &Command, now: Instant) -> Option<ServerEvent> {
        let text = |name| command.object.get(name).and_then(Amf::as_str).unwrap_or_default().to_owned();
        self.link.greet(self.config.chunk_bytes);
        if let Some(refusal) = &self.config.refusal {
            let error = Command::new("_error", command.transaction, Amf::Null).with(refusal.status());
            self.link.command(0, error);
            self.close();
            return None;
        }
        let capabilities = Capabilities::read(&command.object);
        self.app = App { name: text("app"), tc_url: text("tcUrl"), flags: capabilities.flags, announces: false };
        self.answer_connect(command, &capabilities);
        self.state = State::Idle;
        self.expect(Phase::Request, now);
        Some(ServerEvent::Connected(ConnectInfo { agent: text("flashVer"), capabilities }))
    }

    /// What we can do is in both objects of the answer: E-RTMP names neither.
    fn answer_connect(&mut self, command: &Command, peer: &Capabilities) {
        let enhanced = if peer.is_enhanced { self.config.capabilities.members() } else { Vec::new() };
        let mut properties = vec![
            ("fmsVer".to_owned(), Amf::text(SERVER_VERSION)),
            ("capabilities".to_owned(), Amf::Number(SERVER_CAPABILITIES)),
        ];
        properties.extend(enhanced.clone());
        let mut info = status("status", code::CONNECT_SUCCESS, "Connected.").members().to_vec();
        let encoding = command.object.get("objectEncoding").and_then(Amf::as_number).unwrap_or(0.0);
        info.push(("objectEncoding".to_owned(), Amf::Number(encoding)));
        info.extend(enhanced);
        let answer = Command::new("_result", command.transaction, Amf::Object(properties)).with(Amf::Object(info));
        self.link.command(0, answer);
    }

    /// A stream is a number until something is asked of it.
    fn create_stream(&mut self, command: &Command) {
        self.answer(command, Amf::Number(f64::from(self.next_stream)));
        self.next_stream = self.next_stream.saturating_add(1);
    }

    fn request(&mut self, direction: Direction, stream: u32, command: &Command) -> Option<ServerEvent> {
        if !matches!(self.state, State::Idle) {
            let code = if direction == Direction::Publish { code::PUBLISH_BAD_NAME } else { code::FAILED };
            let text = "One stream at a time on a connection: end the other one first.";
            self.link.status(stream, Rejection::new(code, text).status());
            return None;
        }
        let name = command.argument(0).as_str().unwrap_or_default();
        let kind = command.argument(1).as_str().unwrap_or_default();
        let target = StreamTarget::new(&self.app.name, &self.app.tc_url, name);
        self.state = State::Asked(direction, stream);
        self.deadline = None;
        Some(match direction {
            Direction::Publish => ServerEvent::PublishRequested(StreamRequest { target, kind: kind.to_owned() }),
            Direction::Play => ServerEvent::PlayRequested(StreamRequest { target, kind: String::new() }),
        })
    }

    /// `deleteStream` names the stream it means, `closeStream` is sent on it.
    fn close_stream(&mut self, on: u32, command: &Command, now: Instant) -> Option<ServerEvent> {
        let named = command.argument(0).as_number().map(|number| number as u32);
        let meant = if command.name == "deleteStream" { named } else { Some(on) };
        let State::Active(direction, stream) = self.state else { return None };
        if meant.is_some_and(|meant| meant != stream) {
            return None;
        }
        if direction == Direction::Publish {
            self.link.status(stream, status("status", code::UNPUBLISH_SUCCESS, "Stopped."));
        }
        self.ended(now)
    }

    fn ended(&mut self, now: Instant) -> Option<ServerEvent> {
        if !matches!(self.state, State::Active(..)) {
            return None;
        }
        self.state = State::Idle;
        self.expect(Phase::Request, now);
        Some(ServerEvent::Ended)
    }
}
