use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ports::{Clock, VideoStep};
use crate::domain::video::{Privacy, Storyboard, StoryboardSheet, Thumbnail, ThumbnailMoment, Video};
use crate::http::testing::{SignedIn, World};
use crate::system::SystemClock;

/// Gives a video pictures of these moments.
async fn illustrate(world: &World, video: &Video, moments: &[ThumbnailMoment]) {
    let (mut thumbnails, mut blobs) = (Vec::new(), Vec::new());
    for moment in moments {
        let key = BlobKey::new(format!("vod-abr/{}/2/{moment}.webp", video.id));
        world.storage.blobs.put(&key, vec![7; 9].into()).await.unwrap();
        thumbnails.push(Thumbnail {
            name: Thumbnail::name_of(&key),
            moment: *moment,
            at_ms: 1500,
            key: key.clone(),
            content_type: "image/webp".into(),
            width: 640,
            height: 360,
        });
        blobs.push(Extent { key, bytes: 9 });
    }
    let step = VideoStep::Illustrated { thumbnails, blobs };
    world.storage.catalog.step_video(&video.id, step, SystemClock.now()).await.unwrap();
}

async fn put(world: &World, who: Option<&SignedIn>, video: &Video, body: Value) -> (StatusCode, Value) {
    let request = world.api(Method::PUT, &format!("/videos/{}/thumbnail", video.id)).json(&body);
    let request = who.iter().fold(request, |request, who| request.bearer_auth(&who.access));
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test]
async fn an_owner_chooses_among_candidates() {
    let world = World::start().await;
    let (anna, bea) = (world.register("anna").await, world.register("bea").await);
    let video = world.playable(&anna.user_id, Privacy::Public).await;
    illustrate(&world, &video, &[ThumbnailMoment::C1, ThumbnailMoment::C2]).await;
    let listed =
        async || -> Value { world.get(&format!("/api/v1/videos/{}/thumbnails", video.id)).await.json().await.unwrap() };
    let all = listed().await;
    assert_eq!((&all["chosen"], all["data"].as_array().unwrap().len()), (&json!("c1"), 3), "{all}");
    assert_eq!(put(&world, None, &video, json!({ "candidate": "c2" })).await.0, 401);
    assert_eq!(put(&world, Some(&bea), &video, json!({ "candidate": "c2" })).await.0, 403);

    let (status, chosen) = put(&world, Some(&anna), &video, json!({ "candidate": "c2" })).await;
    assert_eq!((status.as_u16(), &chosen["chosen"]), (200, &json!("c2")), "{chosen}");
    assert_eq!(listed().await, chosen);
    let shown: Value = world.get(&format!("/api/v1/videos/{}", video.id)).await.json().await.unwrap();
    let pictures = shown["thumbnails"].as_array().unwrap();
    assert_eq!((pictures.len(), &pictures[0]["moment"], &pictures[0]["time"]), (1, &json!("c2"), &json!(1.5)));
    let picture = world.client.get(pictures[0]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!((picture.status().as_u16(), &picture.headers()["content-type"]), (200, &"image/webp".parse().unwrap()));
}

#[tokio::test]
async fn what_cannot_be_a_thumbnail_is_refused() {
    let world = World::start_with(|settings| settings.uploads.picture_size_max = bytesize::ByteSize::b(64)).await;
    let anna = world.register("anna").await;
    let video = world.playable(&anna.user_id, Privacy::Public).await;
    for (body, status) in [
        (json!({ "candidate": "c3" }), 422),
        (json!({ "candidate": "best" }), 422),
        (json!({ "time": -1 }), 422),
        (json!({ "time": "x" }), 422),
        (json!({}), 422),
        (json!({ "time": 1, "candidate": "c1" }), 422),
        (json!({ "time": 1 }), 503),
    ] {
        let (got, problem) = put(&world, Some(&anna), &video, body.clone()).await;
        assert_eq!(got, status, "{body}: {problem}");
    }
    let send = async |kind: &'static str, body: Vec<u8>| {
        let request = world.api(Method::PUT, &format!("/videos/{}/thumbnail", video.id)).bearer_auth(&anna.access);
        request.header("content-type", kind).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("image/png", vec![0; 65]).await, 413);
    assert_eq!(send("image/png", Vec::new()).await, 422);
    assert_eq!(send("text/plain", vec![0; 6]).await, 415);
    assert_eq!(send("multipart/form-data", vec![0; 6]).await, 415, "no boundary");
    let form = |size: usize| {
        let content = "x".repeat(size);
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n{content}\r\n--b--\r\n"
        )
    };
    assert_eq!(send("multipart/form-data; boundary=b", form(65).into()).await, 413);
    assert_eq!(send("multipart/form-data; boundary=b", form(6).into()).await, 503, "the workers are not there");
    assert_eq!(send("multipart/form-data; boundary=b", b"--b--\r\n".to_vec()).await, 422);
    let unfinished = world.uploading(&anna.user_id, Privacy::Public).await;
    assert_eq!(put(&world, Some(&anna), &unfinished, json!({ "time": 1 })).await.0, 409);
}

#[tokio::test]
async fn storyboards_lead_to_their_sheets_and_are_closed_with_their_video() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let video = world.playable(&anna.user_id, Privacy::Private).await;
    let key = BlobKey::new(format!("vod-abr/{}/2/sheet-0.jpg", video.id));
    world.storage.blobs.put(&key, vec![7; 9].into()).await.unwrap();
    let sheet = StoryboardSheet { name: Thumbnail::name_of(&key), key: key.clone() };
    let storyboard = Storyboard {
        sheets: vec![sheet],
        width: 160,
        height: 90,
        columns: 5,
        rows: 5,
        interval_ms: 2000,
        num_tiles: 2,
    };
    let step = VideoStep::StoryboardMade { storyboard, blobs: vec![Extent { key, bytes: 9 }] };
    world.storage.catalog.step_video(&video.id, step, SystemClock.now()).await.unwrap();

    let request = world.api(Method::GET, &format!("/videos/{}", video.id)).bearer_auth(&anna.access);
    let shown: Value = request.send().await.unwrap().json().await.unwrap();
    let board = &shown["storyboard"];
    assert_eq!((&board["interval"], &board["count"], &board["columns"]), (&json!(2.0), &json!(2), &json!(5)));
    let cues = reqwest::Url::parse(board["vtt"].as_str().unwrap()).unwrap();
    let response = world.client.get(cues.clone()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/vtt; charset=utf-8");
    let text = response.text().await.unwrap();
    let named = text.lines().find(|line| line.contains("#xywh")).unwrap();
    assert!(named.ends_with("#xywh=0,0,160,90"), "{text}");
    let sheet = cues.join(named).unwrap();
    assert_eq!(Some(sheet.as_str().split('#').next().unwrap()), board["sheets"][0].as_str());
    let sheet = world.client.get(sheet).send().await.unwrap();
    assert_eq!((sheet.status().as_u16(), &sheet.headers()["content-type"]), (200, &"image/jpeg".parse().unwrap()));
    for tail in ["storyboard.vtt", "pictures/2-sheet-0.jpg", "manifest.mpd"] {
        assert_eq!(world.get(&format!("/v/{}/{tail}", video.playback_id)).await.status(), 404, "{tail}");
    }
}
