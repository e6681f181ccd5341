use reqwest::Method;
use serde_json::Value;

use crate::http::testing::World;

async fn problem(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!((body["status"].as_u64(), body["request_id"].as_str()), (Some(status.into()), Some(id.as_str())));
    (status, body)
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let world = World::start().await;
    let refusals = [
        (Method::GET, "/api/v1/nothing", 404, "not_found"),
        (Method::GET, "/api/v1/videos/not-an-id", 404, "not_found"),
        (Method::GET, "/api/v1/videos/vid_aaaaaaaaaaaa", 404, "not_found"),
        (Method::DELETE, "/api/v1/auth/login", 405, "method_not_allowed"),
        (Method::POST, "/healthz", 405, "method_not_allowed"),
        (Method::GET, "/api/v1/users/me", 401, "authentication_required"),
        (Method::GET, "/api/v1/videos?page=2", 400, "page_not_supported"),
        (Method::GET, "/api/v1/videos?limit=0", 400, "invalid_query"),
        (Method::GET, "/api/v1/videos?limit=many", 400, "invalid_query"),
        (Method::GET, "/api/v1/videos?cursor=garbage", 400, "invalid_cursor"),
        (Method::GET, "/api/v1/videos?owner=me", 401, "authentication_required"),
        (Method::POST, "/api/v1/auth/login", 415, "unsupported_media_type"),
        (Method::GET, "/no/such/file", 404, "not_found"),
        (Method::POST, "/v/plb_aaaaaaaaaaaa/master.m3u8", 405, "method_not_allowed"),
    ];
    for (method, path, status, code) in refusals {
        let response = world.client.request(method.clone(), world.url(path)).send().await.unwrap();
        let allow = response.headers().get("allow").cloned();
        let (answered, body) = problem(response).await;
        assert_eq!((answered, body["code"].as_str()), (status, Some(code)), "{method} {path}");
        assert_eq!(allow.is_some(), status == 405, "{method} {path}");
    }
}

#[tokio::test]
async fn bodies_are_refused_by_size_form_and_type() {
    let world = World::start_with(|settings| settings.http.json_bytes_max = bytesize::ByteSize::kib(1)).await;
    let post = |body: String| {
        let request = world.api(Method::POST, "/auth/login").header("content-type", "application/json");
        request.body(body).send()
    };
    let (status, body) = problem(post("{".into()).await.unwrap()).await;
    assert_eq!((status, body["code"].as_str()), (400, Some("invalid_json")));
    let (status, body) = problem(post(r#"{"username": 7, "password": "x"}"#.into()).await.unwrap()).await;
    assert_eq!((status, body["errors"][0]["pointer"].as_str()), (422, Some("/username")));
    let (status, body) = problem(post(format!(r#"{{"username": "{}"}}"#, "x".repeat(2000))).await.unwrap()).await;
    assert_eq!((status, body["code"].as_str()), (413, Some("body_too_large")));
}

#[tokio::test]
async fn request_ids_are_taken_over_when_sane() {
    let world = World::start().await;
    let ask = |id: &'static str| world.client.get(world.url("/healthz")).header("x-request-id", id).send();
    assert_eq!(ask("trace-1.a_B").await.unwrap().headers()["x-request-id"], "trace-1.a_B");
    for bad in ["a b", "a\"b", &"x".repeat(65)] {
        let bad: &'static str = bad.to_owned().leak();
        let own = ask(bad).await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(own.starts_with("req_"), "{own}");
    }
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let world = World::start().await;
    let head = world.client.head(world.url("/api/v1/nothing")).send().await.unwrap();
    assert_eq!(head.status(), 404);
    assert!(head.headers()["content-length"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(head.bytes().await.unwrap().is_empty());
}
