use reqwest::Method;
use serde_json::{Value, json};

use crate::domain::ids::VideoId;
use crate::domain::video::Privacy;
use crate::http::testing::{SignedIn, World};

async fn ask(world: &World, who: Option<&SignedIn>, method: Method, path: &str) -> (u16, Value) {
    let request = world.api(method, path);
    let request = who.into_iter().fold(request, |request, who| request.bearer_auth(&who.access));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

async fn get(world: &World, who: Option<&SignedIn>, path: &str) -> (u16, Value) {
    ask(world, who, Method::GET, path).await
}

#[tokio::test]
async fn who_may_see_what() {
    let world = World::start().await;
    let (anna, bea) = (world.register("anna").await, world.register("bea").await);
    let public = world.playable(&anna.user_id, Privacy::Public).await.id;
    let unlisted = world.playable(&anna.user_id, Privacy::Unlisted).await.id;
    let private = world.playable(&anna.user_id, Privacy::Private).await.id;
    let uploading = world.uploading(&anna.user_id, Privacy::Public).await.id;
    for (id, owner, other) in [(&public, 200, 200), (&unlisted, 200, 200), (&private, 200, 404), (&uploading, 200, 404)]
    {
        for tail in ["", "/status", "/thumbnails"] {
            let path = format!("/videos/{id}{tail}");
            assert_eq!(get(&world, Some(&anna), &path).await.0, owner, "{path}");
            assert_eq!(get(&world, Some(&bea), &path).await.0, other, "{path}");
            assert_eq!(get(&world, None, &path).await.0, other, "{path}");
        }
    }
    let listed = |list: &Value| list["data"].as_array().unwrap().iter().map(|v| v["id"].clone()).collect::<Vec<_>>();
    let (_, list) = get(&world, None, "/videos").await;
    assert_eq!(listed(&list), [json!(public)]);
    let (_, own) = get(&world, Some(&anna), "/videos?owner=me").await;
    assert_eq!(listed(&own).len(), 4);
    assert_eq!(listed(&get(&world, Some(&bea), "/videos?owner=me").await.1).len(), 0);
}

#[tokio::test]
async fn a_record_has_what_clients_rely_on() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let video = world.playable(&anna.user_id, Privacy::Public).await;
    let (_, shown) = get(&world, None, &format!("/videos/{}", video.id)).await;
    assert_eq!(shown["user"], json!({"user_id": anna.user_id, "username": "anna", "display_name": "anna"}));
    assert_eq!((&shown["status"], &shown["progress"]), (&json!("ready"), &json!(100)));
    assert_eq!(shown["renditions"][0]["rung"], "source");
    for field in ["source", "asset_generation", "playback_id", "expected_digest", "file_name"] {
        assert_eq!(shown.get(field), None, "{field} is nobody's business");
    }
    for url in [&shown["video_urls"]["hls"], &shown["thumbnails"][0]["url"]] {
        let response = world.client.get(url.as_str().unwrap()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
    }
}

#[tokio::test]
async fn lists_go_on_by_cursor() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(json!(world.playable(&anna.user_id, Privacy::Public).await.id));
    }
    let (mut seen, mut path, mut pages) = (Vec::new(), "/videos?limit=2".to_owned(), 0);
    loop {
        let (status, page) = get(&world, None, &path).await;
        assert_eq!((status, page["has_more"].as_bool()), (200, Some(page["next_cursor"].is_string())));
        seen.extend(page["data"].as_array().unwrap().iter().map(|video| video["id"].clone()));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/videos?limit=2&cursor={cursor}");
    }
    seen.sort_by_key(ToString::to_string);
    made.sort_by_key(ToString::to_string);
    assert_eq!((pages, seen), (3, made));
}

#[tokio::test]
async fn edits_are_merged_conditioned_and_seen_at_once() {
    let world = World::start().await;
    let (anna, bea) = (world.register("anna").await, world.register("bea").await);
    let id = world.playable(&anna.user_id, Privacy::Public).await.id;
    let path = format!("/videos/{id}");
    let before = world.api(Method::GET, &path).send().await.unwrap();
    let tag = before.headers()["etag"].to_str().unwrap().to_owned();
    let again = world.api(Method::GET, &path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    let patch = |who: &SignedIn, body: Value, tag: Option<&str>| {
        let request = world.api(Method::PATCH, &path).bearer_auth(&who.access).json(&body);
        tag.into_iter().fold(request, |request, tag| request.header("if-match", tag)).send()
    };
    assert_eq!(patch(&bea, json!({"title": "Mine"}), None).await.unwrap().status(), 403);
    let changed = patch(&anna, json!({"title": "New", "tags": ["a", "b"]}), Some(&tag)).await.unwrap();
    assert_eq!(changed.status(), 200);
    let (_, shown) = get(&world, None, &path).await;
    assert_eq!((&shown["title"], &shown["tags"]), (&json!("New"), &json!(["a", "b"])));
    assert_eq!(patch(&anna, json!({"title": "Late"}), Some(&tag)).await.unwrap().status(), 412);
    assert_eq!(patch(&anna, json!({"title": ""}), None).await.unwrap().status(), 422);
    assert_eq!(patch(&anna, json!({"category": "music"}), None).await.unwrap().status(), 200);
    let (_, shown) = get(&world, None, &path).await;
    assert_eq!((&shown["title"], &shown["category"]), (&json!("New"), &json!("music")), "the rest stays");
}

#[tokio::test]
async fn making_a_video_private_and_deleting_it_close_its_media_at_once() {
    let world = World::start().await;
    let (anna, bea) = (world.register("anna").await, world.register("bea").await);
    let video = world.playable(&anna.user_id, Privacy::Public).await;
    let path = format!("/videos/{}", video.id);
    let manifest = format!("/v/{}/master.m3u8", video.playback_id);
    assert_eq!(world.get(&manifest).await.status(), 200);
    let body = json!({"privacy": "private"});
    let hidden = world.api(Method::PATCH, &path).bearer_auth(&anna.access).json(&body).send().await.unwrap();
    assert_eq!(hidden.status(), 200);
    assert_eq!((world.get(&manifest).await.status().as_u16(), get(&world, None, &path).await.0), (404, 404));
    let signed = hidden.json::<Value>().await.unwrap()["video_urls"]["hls"].as_str().unwrap().to_owned();
    assert_eq!(world.client.get(&signed).send().await.unwrap().status(), 200);
    assert_eq!(ask(&world, Some(&bea), Method::DELETE, &path).await.0, 404);
    assert_eq!(ask(&world, Some(&anna), Method::DELETE, &path).await.0, 204);
    assert_eq!(world.client.get(&signed).send().await.unwrap().status(), 404);
    assert_eq!(get(&world, Some(&anna), &path).await.0, 404);
}

async fn stream(world: &World, id: &VideoId, query: &str, accept: &str) -> reqwest::Response {
    world.api(Method::GET, &format!("/videos/{id}/stream{query}")).header("accept", accept).send().await.unwrap()
}

#[tokio::test]
async fn streams_are_reached_by_redirection_or_as_json() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let id = world.playable(&anna.user_id, Privacy::Unlisted).await.id;
    let redirect = stream(&world, &id, "", "*/*").await;
    assert_eq!(redirect.status(), 302);
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.contains("/t/"), "an unlisted video's link carries a token: {location}");
    assert_eq!(world.client.get(&location).send().await.unwrap().status(), 200);
    for (query, expected) in [
        ("?quality=180p", "/master.m3u8?quality=180p"),
        ("?format=dash", "/manifest.mpd"),
        ("?format=dash&quality=180p", "/manifest.mpd?quality=180p"),
        ("?CMCD=bl%3D100%2Cmtp%3D90000", "/master.m3u8?start=180p"),
        ("?session=pbs_neverheardof", "/master.m3u8"),
    ] {
        let described: Value = stream(&world, &id, query, "application/json").await.json().await.unwrap();
        let url = described["url"].as_str().unwrap();
        assert!(url.ends_with(expected), "{query}: {url}");
        assert_eq!(world.client.get(url).send().await.unwrap().status(), 200, "{query}");
    }
    let described: Value = stream(&world, &id, "", "application/json").await.json().await.unwrap();
    assert_eq!((&described["format"], &described["quality"]), (&json!("hls"), &json!("auto")));
    assert!(described["expires_at"].is_string() && described["renditions"].is_array());
    for (query, status, code) in [
        ("?quality=181p", 400, "invalid_query"),
        ("?format=ogg", 400, "invalid_query"),
        ("?quality=1080p", 404, "quality_not_available"),
        ("?quality=best", 400, "invalid_query"),
    ] {
        let refused = stream(&world, &id, query, "application/json").await;
        assert_eq!(refused.status(), status, "{query}");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], code, "{query}");
    }
    let manifest = world.get(&format!("/api/v1/videos/{id}/manifest.m3u8")).await;
    assert_eq!(
        (manifest.status().as_u16(), manifest.headers()["location"].to_str().unwrap()),
        (302, location.as_str())
    );
    let unfinished = world.uploading(&anna.user_id, Privacy::Public).await.id;
    let early = world.api(Method::GET, &format!("/videos/{unfinished}/stream")).bearer_auth(&anna.access);
    assert_eq!(early.send().await.unwrap().status(), 409);
}

#[tokio::test]
async fn auto_suits_the_viewers_connection() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let id = world.playable(&anna.user_id, Privacy::Public).await.id;
    let opened = world.api(Method::POST, &format!("/videos/{id}/playback")).send().await.unwrap();
    let opened: Value = opened.json().await.unwrap();
    assert!(opened["urls"]["dash"].as_str().unwrap().contains("/manifest.mpd?session="));
    let session = opened["session"].as_str().unwrap();
    let location = async |query: &str, headers: &[(&'static str, &str)]| {
        let request = world.api(Method::GET, &format!("/videos/{id}/stream{query}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["vary"], "accept, save-data, cmcd-request");
        response.headers()["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    let of_session = format!("?session={session}");
    assert_eq!(location(&of_session, &[]).await, "master.m3u8", "nothing is known yet");
    let beat = json!({ "session": session, "seq": 0, "progress_sec": 0, "throughput": 5_000_000.0 });
    let beat = world.api(Method::POST, &format!("/videos/{id}/heartbeat")).json(&beat).send().await.unwrap();
    assert_eq!(beat.status(), 204);
    assert_eq!(location(&of_session, &[]).await, "master.m3u8?start=180p");
    assert_eq!(location("", &[("cmcd-request", "mtp=5000")]).await, "master.m3u8?start=180p");
    assert_eq!(location("", &[("cmcd-request", "mtp=x")]).await, "master.m3u8");
    assert_eq!(location("", &[("save-data", "on")]).await, "master.m3u8?max=480p");
    assert_eq!(location("?quality=180p", &[("save-data", "on")]).await, "master.m3u8?quality=180p");
}

#[tokio::test]
async fn the_service_document_says_where_things_are() {
    let world = World::start_with(|settings| settings.server.public_url = "https://video.example.org/".into()).await;
    let document: Value = world.get("/api/v1").await.json().await.unwrap();
    assert_eq!(document["uploads_url"], "https://video.example.org/api/v1/uploads");
    assert_eq!((&document["name"], &document["registration_open"]), (&json!("playhouse"), &json!(true)));
}
