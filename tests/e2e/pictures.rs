//! What stands for a video, chosen by its owner: a moment, a candidate, or a picture of their own, made by real workers.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::clips::Recipe;
use crate::support::server::Server;
use crate::support::tools::{ffprobe, output, run, until};
use crate::uploads::upload;

/// Red for five seconds, then blue, with something to see in both; too small for a ladder.
const CLIP: Recipe = Recipe {
    name: "red-blue.mp4",
    args: "-f lavfi -i color=red:size=240x134:rate=25:duration=5 -f lavfi -i color=blue:size=240x134:rate=25:duration=5 \
        -filter_complex [0][1]concat=n=2:v=1,drawbox=w=60:h=60:color=white:t=fill -c:v libx264 -preset veryfast \
        -pix_fmt yuv420p -g 50 -flags +cgop",
};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Sends a choice; the answer, whatever its status.
async fn choose(client: &Client, id: &str, (kind, body): (&str, Vec<u8>)) -> (StatusCode, Value) {
    let request = client.request(Method::PUT, &format!("/api/v1/videos/{id}/thumbnail"));
    let answer = request.header("content-type", kind).body(body).send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

async fn choose_json(client: &Client, id: &str, choice: Value) -> (StatusCode, Value) {
    choose(client, id, ("application/json", choice.to_string().into_bytes())).await
}

/// Mean colour of a picture's middle, red, green and blue, as ffmpeg decodes it.
fn colour(picture: &str) -> [u8; 3] {
    let args = ["-nostdin", "-v", "error", "-i", picture, "-vf", "crop=iw/4:ih/4,scale=1:1:flags=area,format=rgb24"];
    let decoded = output(Command::new("ffmpeg").args(args).args(["-frames:v", "1", "-f", "rawvideo", "-"]));
    decoded.stdout.try_into().unwrap_or_else(|_| panic!("{picture}: {}", String::from_utf8_lossy(&decoded.stderr)))
}

fn is_near(colour: [u8; 3], wanted: [u8; 3]) -> bool {
    colour.iter().zip(wanted).all(|(one, other)| one.abs_diff(other) < 40)
}

/// The pictures that stand for the video by its record; each is there and as large as it says.
async fn shown(client: &Client, id: &str) -> Vec<Value> {
    let video = client.video(id).await.expect("the video's record");
    let pictures = video["thumbnails"].as_array().expect("pictures").clone();
    assert!(!pictures.is_empty(), "{video}");
    for picture in &pictures {
        let url = picture["url"].as_str().expect("a URL");
        let stream = &ffprobe(url, &["-show_entries", "stream=width,height"])["streams"][0];
        assert_eq!((&stream["width"], &stream["height"]), (&picture["width"], &picture["height"]), "{picture}");
        assert_eq!(picture["chosen"], true, "{picture}");
    }
    pictures
}

/// The same in every size and format, taken at this moment.
async fn stands(client: &Client, id: &str, moment: &str, wanted: [u8; 3]) -> Vec<Value> {
    let pictures = shown(client, id).await;
    for picture in &pictures {
        assert_eq!(picture["moment"], moment, "{picture}");
        let colour = colour(picture["url"].as_str().expect("a URL"));
        assert!(is_near(colour, wanted), "{colour:?} in {picture}");
    }
    pictures
}

async fn ready(client: &Client, id: &str) -> Value {
    until("all pictures", READY_WITHIN, || async {
        let video = client.video(id).await.expect("the video's record");
        (video["status"] == "ready").then_some(video)
    })
    .await
}

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const GREEN: [u8; 3] = [0, 128, 0];

#[tokio::test(flavor = "multi_thread")]
async fn owners_choose_a_moment_a_candidate_or_a_picture_of_their_own() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let id = upload(&creator, &CLIP.make()).await;
    ready(&creator, &id).await;

    let (status, all) = choose_json(&creator, &id, json!({ "time": 7.5 })).await;
    assert_eq!((status, &all["chosen"]), (StatusCode::OK, &json!("custom")), "{all}");
    let pictures = stands(&creator, &id, "custom", BLUE).await;
    assert!((pictures[0]["time"].as_f64().expect("a time") - 7.5).abs() < 0.05, "{pictures:?}");
    assert_eq!((&pictures[0]["width"], &pictures[0]["height"]), (&json!(240), &json!(134)));
    let moment_url = pictures[0]["url"].as_str().expect("a URL").to_owned();
    assert_eq!(choose_json(&creator, &id, json!({ "time": 1.0 })).await.0, StatusCode::OK);
    stands(&creator, &id, "custom", RED).await;
    assert_eq!(choose_json(&creator, &id, json!({ "time": 3600 })).await.0, StatusCode::OK, "the last picture");
    stands(&creator, &id, "custom", BLUE).await;

    let dir = tempfile::tempdir().expect("a directory");
    for (name, kind) in [("own.png", "image/png"), ("own.jpg", "image/jpeg"), ("own.webp", "image/webp")] {
        let picture = own_picture(&dir.path().join(name));
        let (status, all) = choose(&creator, &id, (kind, picture)).await;
        assert_eq!((status, &all["chosen"]), (StatusCode::OK, &json!("custom")), "{name}: {all}");
        let pictures = stands(&creator, &id, "custom", GREEN).await;
        assert!(pictures.iter().all(|picture| picture["url"] != moment_url.as_str()), "an immutable URL was reused");
    }

    let moments = all["data"].as_array().expect("pictures");
    let candidate = moments.iter().find(|picture| picture["moment"] != "custom").expect("a candidate");
    let name = candidate["moment"].as_str().expect("its name");
    let wanted = if candidate["time"].as_f64().expect("a time") < 5.0 { RED } else { BLUE };
    let (status, all) = choose_json(&creator, &id, json!({ "candidate": name })).await;
    assert_eq!((status, &all["chosen"]), (StatusCode::OK, &candidate["moment"]), "{all}");
    stands(&creator, &id, name, wanted).await;
}

/// A green picture of another shape than the video.
fn own_picture(path: &Path) -> Vec<u8> {
    let picture = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "color=green:size=640x480", "-frames:v", "1"];
    run(Command::new("ffmpeg").args(picture).arg(path));
    std::fs::read(path).expect("a picture")
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_that_cannot_be_made_change_nothing() {
    let server = Server::start();
    let (creator, other) = (server.account("creator").await, server.account("other").await);
    let id = upload(&creator, &CLIP.make()).await;
    ready(&creator, &id).await;
    let before = shown(&creator, &id).await;
    let truncated = {
        let dir = tempfile::tempdir().expect("a directory");
        let whole = own_picture(&dir.path().join("own.png"));
        whole[..whole.len() / 2].to_vec()
    };
    let refused = [
        ("application/json", json!({ "time": -1 }).to_string().into_bytes(), "out_of_range"),
        ("application/json", json!({ "candidate": "c9" }).to_string().into_bytes(), "not_available"),
        ("application/json", json!({}).to_string().into_bytes(), "required"),
        ("image/png", b"no picture at all".to_vec(), ""),
        ("image/png", truncated, ""),
    ];
    for (kind, body, code) in refused {
        let (status, problem) = choose(&creator, &id, (kind, body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(code.is_empty() || problem["errors"][0]["code"] == code, "{problem}");
    }
    assert_eq!(choose_json(&other, &id, json!({ "time": 1 })).await.0, StatusCode::FORBIDDEN);
    assert_eq!(choose_json(&server.client(), &id, json!({ "time": 1 })).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(shown(&creator, &id).await, before);
}
