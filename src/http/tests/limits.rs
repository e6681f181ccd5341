use reqwest::Method;
use serde_json::json;

use crate::http::testing::{PASSWORD, World};

#[tokio::test]
async fn the_api_says_what_is_left_and_when_to_come_back() {
    let world = World::start_with(|settings| settings.rates.api_per_minute = 3).await;
    for left in [2, 1, 0] {
        let response = world.get("/api/v1").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["ratelimit-policy"], "\"api\";q=3;w=60");
        let told = response.headers()["ratelimit"].to_str().unwrap().to_owned();
        assert!(told.starts_with(&format!("\"api\";r={left};t=")), "{told}");
    }
    let refused = world.get("/api/v1").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(world.get("/healthz").await.status(), 200, "what is not the API is not counted");
}

#[tokio::test]
async fn trying_passwords_is_limited_by_account_and_by_address() {
    let world = World::start_with(|settings| {
        settings.rates.login_per_minute_per_account = 2;
        settings.rates.login_per_minute_per_address = 5;
    })
    .await;
    world.register("anna").await;
    for name in ["anna", "ANNA"] {
        assert_eq!(world.login(name, "wrong password").await.status(), 401);
    }
    assert_eq!(world.login("anna", PASSWORD).await.status(), 429, "even with the right one");
    for name in ["bea", "cleo"] {
        assert_eq!(world.login(name, PASSWORD).await.status(), 401);
    }
    assert_eq!(world.login("dora", PASSWORD).await.status(), 429);
}

#[tokio::test]
async fn registrations_are_limited_by_the_clients_address_not_the_proxys() {
    let world = World::start_with(|settings| {
        settings.rates.register_per_minute = 1;
        settings.http.trusted_proxies = vec!["127.0.0.0/8".into()];
    })
    .await;
    let register = |name: &'static str, client: &'static str| {
        let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
        world.api(Method::POST, "/auth/register").header("x-forwarded-for", client).json(&body).send()
    };
    assert_eq!(register("anna", "192.0.2.1").await.unwrap().status(), 201);
    assert_eq!(register("bea", "192.0.2.1").await.unwrap().status(), 429);
    assert_eq!(register("bea", "192.0.2.2").await.unwrap().status(), 201);
    assert_eq!(
        register("cleo", "192.0.2.9, 192.0.2.2").await.unwrap().status(),
        429,
        "what a client claims counts for nothing"
    );
}
