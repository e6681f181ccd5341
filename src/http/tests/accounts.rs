use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};

use crate::domain::ports::Clock;
use crate::http::ensure_first_admin;
use crate::http::testing::{PASSWORD, SignedIn, World};
use crate::system::{SystemClock, SystemEntropy};

#[tokio::test]
async fn registering_signs_in_and_refuses_what_is_wrong_by_field() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    assert_eq!(world.me(&anna.access).await, 200);
    let body = json!({ "username": "ANNA", "email": "other@example.org", "password": PASSWORD });
    let taken = world.api(Method::POST, "/auth/register").json(&body).send().await.unwrap();
    assert_eq!(taken.status(), 409);
    assert_eq!(taken.json::<Value>().await.unwrap()["errors"][0]["pointer"], "/username");
    let body = json!({ "username": "a b", "email": "nobody", "password": "short" });
    let wrong = world.api(Method::POST, "/auth/register").json(&body).send().await.unwrap();
    assert_eq!(wrong.status(), 422);
    let wrong: Value = wrong.json().await.unwrap();
    let pointers: Vec<&str> =
        wrong["errors"].as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
    assert_eq!(pointers, ["/username", "/email", "/password"]);
}

#[tokio::test]
async fn registration_can_be_closed() {
    let world = World::start_with(|settings| settings.accounts.registration_open = false).await;
    let body = json!({ "username": "anna", "email": "a@example.org", "password": PASSWORD });
    let closed = world.api(Method::POST, "/auth/register").json(&body).send().await.unwrap();
    assert_eq!((closed.status().as_u16(), code(closed).await), (403, "registration_closed".to_owned()));
}

async fn code(response: reqwest::Response) -> String {
    let body: Value = response.json().await.unwrap();
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn sign_in_takes_name_or_address_and_hides_which_was_wrong() {
    let world = World::start().await;
    world.register("anna").await;
    for name in ["anna", "Anna", "anna@example.org"] {
        assert_eq!(world.login(name, PASSWORD).await.status(), 200, "{name}");
    }
    let wrong = world.login("anna", "not her password").await;
    assert!(wrong.headers().contains_key("www-authenticate"));
    let unknown = world.login("nobody", PASSWORD).await;
    assert_eq!((wrong.status().as_u16(), unknown.status().as_u16()), (401, 401));
    let (mut wrong, mut unknown): (Value, Value) = (wrong.json().await.unwrap(), unknown.json().await.unwrap());
    wrong["request_id"].take();
    unknown["request_id"].take();
    assert_eq!(wrong, unknown);
}

#[tokio::test]
async fn a_spent_refresh_token_signs_the_device_out() {
    let world = World::start().await;
    let first = world.register("anna").await;
    let second = SignedIn::of(&world.refresh(&first.refresh).await.json().await.unwrap());
    let third = SignedIn::of(&world.refresh(&second.refresh).await.json().await.unwrap());
    assert_eq!(world.me(&third.access).await, 200);
    let reused = world.refresh(&second.refresh).await;
    assert_eq!((reused.status().as_u16(), code(reused).await), (401, "refresh_token_reused".to_owned()));
    let after = world.refresh(&third.refresh).await;
    assert_eq!((after.status().as_u16(), code(after).await), (401, "refresh_token_invalid".to_owned()));
    assert_eq!(world.me(&third.access).await, 401, "access tokens of the family end with it");
}

#[tokio::test]
async fn signing_out_ends_the_access_token_at_once() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    assert_eq!(world.me(&anna.access).await, 200);
    let out = world.api(Method::POST, "/auth/logout").bearer_auth(&anna.access).send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert_eq!(world.me(&anna.access).await, 401);
    assert_eq!(world.refresh(&anna.refresh).await.status(), 401);
    let other = world.login("anna", PASSWORD).await.json::<Value>().await.unwrap();
    let other = SignedIn::of(&other);
    let body = json!({ "refresh_token": other.refresh });
    let out = world.api(Method::POST, "/auth/logout").json(&body).send().await.unwrap();
    assert_eq!((out.status().as_u16(), world.me(&other.access).await), (204, 401));
    assert_eq!(world.api(Method::POST, "/auth/logout").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn devices_are_listed_and_signed_out() {
    let world = World::start().await;
    let here = world.register("anna").await;
    let there = SignedIn::of(&world.login("anna", PASSWORD).await.json().await.unwrap());
    let third = SignedIn::of(&world.login("anna", PASSWORD).await.json().await.unwrap());
    let list = world.api(Method::GET, "/auth/sessions").bearer_auth(&here.access).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let devices = list["data"].as_array().unwrap();
    assert_eq!(devices.iter().filter(|device| device["current"] == true).count(), 1);
    assert!(devices.len() == 3 && devices.iter().all(|device| device.get("refresh_hash").is_none()));
    let own = world.api(Method::GET, "/auth/sessions").bearer_auth(&there.access).send().await.unwrap();
    let own: Value = own.json().await.unwrap();
    let id = own["data"].as_array().unwrap().iter().find(|one| one["current"] == true).unwrap()["id"].clone();
    let path = format!("/auth/sessions/{}", id.as_str().unwrap());
    let bea = world.register("bea").await;
    let not_hers = world.api(Method::DELETE, &path).bearer_auth(&bea.access).send().await.unwrap();
    assert_eq!((not_hers.status().as_u16(), world.me(&there.access).await), (404, 200));
    let revoked = world.api(Method::DELETE, &path).bearer_auth(&here.access).send().await.unwrap();
    assert_eq!((revoked.status().as_u16(), world.me(&there.access).await), (204, 401));
    let others = world.api(Method::DELETE, "/auth/sessions").bearer_auth(&here.access).send().await.unwrap();
    assert_eq!(others.json::<Value>().await.unwrap()["revoked"], 1);
    assert_eq!((world.me(&third.access).await, world.me(&here.access).await), (401, 200));
}

/// As another node does it, which has the catalog in common with this one.
#[tokio::test]
async fn what_ends_sign_ins_elsewhere_is_known_here_once_the_feed_tells_of_it() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let signed_in = async || SignedIn::of(&world.login("anna", PASSWORD).await.json().await.unwrap());
    let (one, others) = (signed_in().await, [signed_in().await, signed_in().await]);
    let catalog = &world.storage.catalog;
    let heard = catalog.events_after(0, 1000).await.unwrap().last().unwrap().sequence;
    for device in [&one, &others[0], &others[1]] {
        assert_eq!(world.me(&device.access).await, 200);
    }
    let logins = catalog.logins(&anna.user_id).await.unwrap();
    // The newest is the first.
    let (last, now) = (&logins[0].id, SystemClock.now());
    catalog.revoke_login(&anna.user_id, last, now).await.unwrap();
    let told = async |from: u64| {
        let events = catalog.events_after(from, 1000).await.unwrap();
        for event in &events {
            world.state.note_event(event).await;
        }
        events.last().map_or(from, |event| event.sequence)
    };
    let heard = told(heard).await;
    assert_eq!([world.me(&others[1].access).await, world.me(&one.access).await], [401, 200]);
    catalog.revoke_logins(&anna.user_id, Some(&logins[2].id), now).await.unwrap();
    told(heard).await;
    assert_eq!([world.me(&others[0].access).await, world.me(&one.access).await], [401, 200]);
}

fn cookie_of(response: &reqwest::Response) -> (String, String) {
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    (cookie.split(';').next().unwrap().to_owned(), cookie)
}

#[tokio::test]
async fn browsers_keep_their_token_in_a_cookie_only_our_pages_can_use() {
    let world = World::start().await;
    world.register("anna").await;
    let body = json!({ "username": "anna", "password": PASSWORD });
    let login = world.api(Method::POST, "/auth/login").header("x-playhouse-client", "browser").json(&body);
    let login = login.send().await.unwrap();
    let (cookie, whole) = cookie_of(&login);
    for part in ["HttpOnly", "SameSite=Strict", "Path=/api/v1/auth"] {
        assert!(whole.contains(part), "{whole}");
    }
    assert!(!whole.contains("Secure"), "not over plain HTTP unless set");
    assert_eq!(login.json::<Value>().await.unwrap().get("refresh_token"), None);

    let own = world.url("");
    let refresh = |origin: Option<&str>, client: Option<&str>| {
        let mut request = world.api(Method::POST, "/auth/refresh").header("cookie", &cookie);
        request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        client.into_iter().fold(request, |request, client| request.header("x-playhouse-client", client)).send()
    };
    assert_eq!(refresh(Some("https://evil.example"), Some("browser")).await.unwrap().status(), 403);
    assert_eq!(refresh(None, Some("browser")).await.unwrap().status(), 403);
    assert_eq!(refresh(Some("null"), Some("browser")).await.unwrap().status(), 403);
    assert_eq!(
        refresh(Some(&own), None).await.unwrap().status(),
        401,
        "without the header the cookie counts for nothing"
    );
    let renewed = refresh(Some(&own), Some("browser")).await.unwrap();
    assert_eq!(renewed.status(), 200);
    let (next, _) = cookie_of(&renewed);
    assert_ne!(next, cookie);
    let out = world.api(Method::POST, "/auth/logout").header("cookie", &next).header("origin", &own);
    let out = out.header("x-playhouse-client", "browser").send().await.unwrap();
    assert_eq!((out.status().as_u16(), cookie_of(&out).1.contains("Max-Age=0")), (204, true));
    let reused = world.api(Method::POST, "/auth/refresh").header("cookie", &next).header("origin", &own);
    assert_eq!(reused.header("x-playhouse-client", "browser").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_public_url_is_an_origin_of_ours_and_secure_cookies_can_be_demanded() {
    let world = World::start_with(|settings| {
        settings.server.public_url = "https://video.example.org".into();
        settings.http.secure_cookies = true;
    })
    .await;
    let body = json!({ "username": "anna", "email": "a@example.org", "password": PASSWORD });
    let request = world.api(Method::POST, "/auth/register").header("x-playhouse-client", "browser").json(&body);
    let (cookie, whole) = cookie_of(&request.send().await.unwrap());
    assert!(whole.contains("; Secure"), "{whole}");
    for (origin, status) in [("http://video.example.org", 403), ("https://video.example.org", 200)] {
        let request = world.api(Method::POST, "/auth/refresh").header("cookie", &cookie).header("origin", origin);
        let response = request.header("x-playhouse-client", "browser").send().await.unwrap();
        assert_eq!(response.status(), status, "{origin}");
    }
}

#[tokio::test]
async fn profiles_are_edited_by_version() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let me = world.api(Method::GET, "/users/me").bearer_auth(&anna.access).send().await.unwrap();
    let tag = me.headers()["etag"].to_str().unwrap().to_owned();
    let unchanged = world.api(Method::GET, "/users/me").bearer_auth(&anna.access).header("if-none-match", &tag);
    assert_eq!(unchanged.send().await.unwrap().status(), 304);
    let patch = |name: &'static str, tag: String| {
        let request = world.api(Method::PATCH, "/users/me").bearer_auth(&anna.access).header("if-match", tag);
        request.json(&json!({ "display_name": name })).send()
    };
    let changed = patch("Anna", tag.clone()).await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.json::<Value>().await.unwrap()["display_name"], "Anna");
    let stale = patch("Too late", tag).await.unwrap();
    assert_eq!((stale.status().as_u16(), code(stale).await), (412, "changed_meanwhile".to_owned()));
    let public: Value = world.get(&format!("/api/v1/users/{}", anna.user_id)).await.json().await.unwrap();
    assert_eq!((&public["display_name"], public.get("email")), (&json!("Anna"), None));
}

#[tokio::test]
async fn changing_the_password_takes_the_old_one_and_signs_others_out() {
    let world = World::start().await;
    let here = world.register("anna").await;
    let there = SignedIn::of(&world.login("anna", PASSWORD).await.json().await.unwrap());
    let change = |current: &'static str| {
        let body = json!({ "password": "a new password", "current_password": current });
        world.api(Method::PATCH, "/users/me").bearer_auth(&here.access).json(&body).send()
    };
    assert_eq!(change("wrong one").await.unwrap().status(), 422);
    assert_eq!(world.me(&there.access).await, 200);
    assert_eq!(change(PASSWORD).await.unwrap().status(), 200);
    assert_eq!((world.me(&there.access).await, world.me(&here.access).await), (401, 200));
    assert_eq!(world.login("anna", PASSWORD).await.status(), 401);
    assert_eq!(world.login("anna", "a new password").await.status(), 200);
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_its_password_file_goes_when_it_changes() {
    let world = World::start().await;
    let catalog = &*world.storage.catalog;
    let ensure = || ensure_first_admin(catalog, (&SystemClock, &SystemEntropy), world.data_dir());
    let password = ensure().await.unwrap().unwrap();
    assert_eq!(ensure().await.unwrap(), None);
    let file = world.data_dir().join("first-run-admin.txt");
    assert!(std::fs::read_to_string(&file).unwrap().contains(&password));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let admin = SignedIn::of(&world.login("admin", &password).await.json().await.unwrap());
    let tree = world.api(Method::GET, "/admin/actors").bearer_auth(&admin.access).send().await.unwrap();
    assert_eq!(tree.status(), 200);
    assert_eq!(tree.json::<Value>().await.unwrap()["children"][0]["kind"], "playback");
    let anna = world.register("anna").await;
    let refused = world.api(Method::GET, "/admin/actors").bearer_auth(&anna.access).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), code(refused).await), (403, "role_required".to_owned()));
    let body = json!({ "password": "another password", "current_password": password });
    let changed = world.api(Method::PATCH, "/users/me").bearer_auth(&admin.access).json(&body).send().await.unwrap();
    assert_eq!((changed.status().as_u16(), file.exists()), (200, false));
    assert!(catalog.has_users().await.unwrap());
}

#[tokio::test]
async fn access_tokens_can_be_checked_by_others_with_the_published_key() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let jwks: jsonwebtoken::jwk::JwkSet = world.get("/.well-known/jwks.json").await.json().await.unwrap();
    let kid = jsonwebtoken::decode_header(&anna.access).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    let validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    let claims = jsonwebtoken::decode::<Value>(&anna.access, &key, &validation).unwrap().claims;
    assert_eq!(claims["sub"], anna.user_id.as_str());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
}
