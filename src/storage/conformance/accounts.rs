//! Accounts, sign-ins and the change feed.
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::json;

use super::{at, events, new_login, new_user, registered};
use crate::domain::account::{Email, ProfilePatch, Rotation};
use crate::domain::events::NewEvent;
use crate::domain::ids::LoginId;
use crate::domain::ports::{Catalog, CatalogError};

pub(in super::super) async fn registering_stores_account_channel_and_event(catalog: &Arc<dyn Catalog>) {
    assert!(!catalog.has_users().await.unwrap());
    let new = new_user("Jöhn.Doe");
    let user = catalog.register(new.clone(), at(5)).await.unwrap();
    assert!(catalog.has_users().await.unwrap());
    assert_eq!((&user.id, &user.channel.id), (&new.id, &new.channel_id));
    assert_eq!((user.username.as_str(), user.channel.name.as_str()), ("Jöhn.Doe", "Jöhn.Doe"));
    assert_eq!((user.is_active, user.revision, user.created_at), (true, 1, at(5)));
    for name in ["jöhn.doe", "JÖHN.DOE", "jÖhn.doe@EXAMPLE.org"] {
        assert_eq!(catalog.user_by_name(name).await.unwrap().as_ref(), Some(&user), "{name}");
    }
    assert_eq!(catalog.user_by_name("john.doe").await.unwrap(), None);
    assert_eq!(catalog.user(&user.id).await.unwrap(), Some(user.clone()));
    let told = events(&**catalog, "user.registered").await;
    assert_eq!((told.len(), told[0].key.as_str(), told[0].at), (1, user.id.as_str(), at(5)));
}

pub(in super::super) async fn taken_names_conflict_without_case(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let mut same_name = new_user("ALICE");
    same_name.email = Email::parse("other@example.org").unwrap();
    assert_eq!(catalog.register(same_name, at(1)).await, Err(CatalogError::Conflict("username")));
    let mut same_email = new_user("other");
    same_email.email = Email::parse("Alice@Example.org").unwrap();
    assert_eq!(catalog.register(same_email, at(1)).await, Err(CatalogError::Conflict("email")));
    assert_eq!(events(&**catalog, "user.registered").await.len(), 1, "a refused registration leaves nothing");
    let bob = registered(&**catalog, "bob").await;
    let patch = ProfilePatch { email: Some(Email::parse("ALICE@example.org").unwrap()), ..ProfilePatch::default() };
    assert_eq!(catalog.update_profile(&bob.id, patch, None, at(2)).await, Err(CatalogError::Conflict("email")));
    assert_eq!(catalog.user(&user.id).await.unwrap(), Some(user));
}

pub(in super::super) async fn of_two_racing_registrations_one_wins(catalog: &Arc<dyn Catalog>) {
    let race = (0..8).map(|_| catalog.register(new_user("racer"), at(0)));
    let outcomes = futures::future::join_all(race).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    // Name and address are both taken; which is told first is the database's choice.
    let refused = |outcome: &&Result<_, _>| matches!(outcome, Err(CatalogError::Conflict("username" | "email")));
    assert_eq!(outcomes.iter().filter(refused).count(), 7);
}

pub(in super::super) async fn profiles_are_edited_by_revision(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let patch = |name: &str| ProfilePatch { display_name: Some(name.into()), ..ProfilePatch::default() };
    let edited = catalog.update_profile(&user.id, patch("Alice A."), Some(1), at(9)).await.unwrap();
    assert_eq!((edited.display_name.as_str(), edited.revision, edited.updated_at), ("Alice A.", 2, at(9)));
    assert_eq!(catalog.update_profile(&user.id, patch("B"), Some(1), at(9)).await, Err(CatalogError::Stale));
    let channel = ProfilePatch {
        channel_name: Some("Channel".into()),
        channel_description: Some("About".into()),
        password_hash: Some("$argon2id$other".into()),
        ..ProfilePatch::default()
    };
    let edited = catalog.update_profile(&user.id, channel, None, at(10)).await.unwrap();
    assert_eq!((edited.channel.name.as_str(), edited.channel.description.as_str()), ("Channel", "About"));
    assert_eq!(catalog.user(&user.id).await.unwrap(), Some(edited));
    let race = (0..5).map(|n| catalog.update_profile(&user.id, patch(&n.to_string()), None, at(11)));
    assert!(futures::future::join_all(race).await.iter().all(Result::is_ok));
    assert_eq!(catalog.user(&user.id).await.unwrap().unwrap().revision, 8, "no edit is lost");
}

pub(in super::super) async fn a_refresh_token_is_good_once(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let login = new_login(&user.id, "h0");
    catalog.open_login(login.clone()).await.unwrap();
    let rotated = catalog.rotate_refresh("h0", "h1", "192.0.2.9", at(2000), at(10)).await.unwrap();
    let Rotation::Rotated(rotated) = rotated else { panic!("{rotated:?}") };
    assert_eq!((rotated.refresh_hash.as_str(), rotated.previous_hash.as_deref()), ("h1", Some("h0")));
    assert_eq!((rotated.address.as_str(), rotated.expires_at, rotated.used_at), ("192.0.2.9", at(2000), at(10)));
    assert_eq!(catalog.login(&login.id).await.unwrap(), Some(rotated));
    let unknown = catalog.rotate_refresh("nope", "h9", "", at(2000), at(10)).await.unwrap();
    assert_eq!(unknown, Rotation::Refused);
}

pub(in super::super) async fn any_spent_token_ends_the_family(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let login = new_login(&user.id, "h0");
    catalog.open_login(login.clone()).await.unwrap();
    for (shown, next) in [("h0", "h1"), ("h1", "h2"), ("h2", "h3")] {
        let rotated = catalog.rotate_refresh(shown, next, "", at(2000), at(10)).await.unwrap();
        assert!(matches!(rotated, Rotation::Rotated(_)));
    }
    // Not the last token but the first: a thief may have rotated several times before its owner comes back.
    let reused = catalog.rotate_refresh("h0", "x", "192.0.2.66", at(2000), at(11)).await.unwrap();
    assert!(matches!(&reused, Rotation::Reused(family) if family.revoked_at == Some(at(11))), "{reused:?}");
    assert_eq!(catalog.rotate_refresh("h3", "y", "", at(2000), at(12)).await.unwrap(), Rotation::Refused);
    assert_eq!(catalog.rotate_refresh("h0", "y", "", at(2000), at(12)).await.unwrap(), Rotation::Refused);
    let told = events(&**catalog, "auth.refresh_reused").await;
    assert_eq!((told.len(), told[0].key.as_str()), (1, login.id.as_str()));
    assert_eq!(told[0].payload["address"], "192.0.2.66");
}

pub(in super::super) async fn of_two_racing_refreshes_one_is_reuse(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    catalog.open_login(new_login(&user.id, "h0")).await.unwrap();
    let (left, right) = tokio::join!(
        catalog.rotate_refresh("h0", "left", "", at(2000), at(1)),
        catalog.rotate_refresh("h0", "right", "", at(2000), at(1)),
    );
    let outcomes = [left.unwrap(), right.unwrap()];
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Rotation::Rotated(_))).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Rotation::Reused(_))).count(), 1, "{outcomes:?}");
}

pub(in super::super) async fn expired_families_are_refused_and_dropped(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let login = new_login(&user.id, "h0");
    catalog.open_login(login.clone()).await.unwrap();
    let late = catalog.rotate_refresh("h0", "h1", "", at(5000), at(1000)).await.unwrap();
    assert_eq!(late, Rotation::Refused);
    assert_eq!(catalog.drop_ended_logins(at(1000)).await.unwrap(), 0);
    assert_eq!(catalog.drop_ended_logins(at(1001)).await.unwrap(), 1);
    assert_eq!(catalog.login(&login.id).await.unwrap(), None);
}

pub(in super::super) async fn sign_ins_are_listed_and_revoked(catalog: &Arc<dyn Catalog>) {
    let (alice, bob) = (registered(&**catalog, "alice").await, registered(&**catalog, "bob").await);
    let mut logins = Vec::new();
    for index in 0..3 {
        let mut login = new_login(&alice.id, &format!("h{index}"));
        login.created_at = at(index);
        catalog.open_login(login.clone()).await.unwrap();
        logins.push(login);
    }
    logins.reverse();
    assert_eq!(catalog.logins(&alice.id).await.unwrap(), logins, "newest first");
    let first = &logins[2].id;
    assert_eq!(catalog.revoke_login(&bob.id, first, at(5)).await, Err(CatalogError::NotFound), "not bob's");
    catalog.revoke_login(&alice.id, first, at(5)).await.unwrap();
    assert_eq!(catalog.revoke_login(&alice.id, first, at(5)).await, Err(CatalogError::NotFound), "revoked already");
    assert_eq!(catalog.login(first).await.unwrap().unwrap().revoked_at, Some(at(5)));
    assert_eq!(catalog.revoke_logins(&alice.id, Some(&logins[0].id), at(6)).await.unwrap(), 1);
    assert_eq!(catalog.logins(&alice.id).await.unwrap(), logins[..1]);
    assert_eq!(catalog.revoke_logins(&alice.id, None, at(7)).await.unwrap(), 1);
    assert_eq!(catalog.revoke_logins(&alice.id, None, at(8)).await.unwrap(), 0);
    assert_eq!(catalog.drop_ended_logins(at(7)).await.unwrap(), 2);
    assert_eq!(events(&**catalog, "auth.login").await.len(), 3);
}

pub(in super::super) async fn a_sign_in_needs_its_account(catalog: &Arc<dyn Catalog>) {
    let stranger = new_user("stranger");
    let refused = catalog.open_login(new_login(&stranger.id, "h0")).await;
    assert_eq!(refused, Err(CatalogError::NotFound));
    assert_eq!(catalog.events_after(0, 10).await.unwrap(), []);
    let absent = LoginId::parse("lgn_absent00").unwrap();
    assert_eq!(catalog.login(&absent).await.unwrap(), None);
}

pub(in super::super) async fn a_secret_is_made_once(catalog: &Arc<dyn Catalog>) {
    let made = AtomicU8::new(0);
    let make = || vec![made.fetch_add(1, Ordering::Relaxed) + 1; 32];
    let race = futures::future::join_all((0..4).map(|_| catalog.secret("jwt", &make))).await;
    let first = race[0].clone().unwrap();
    assert!(race.iter().all(|secret| secret.as_ref() == Ok(&first)));
    assert_eq!(catalog.secret("jwt", &|| unreachable!("stored already")).await.unwrap(), first);
    assert_ne!(catalog.secret("other", &make).await.unwrap(), first);
}

pub(in super::super) async fn the_feed_is_in_commit_order(catalog: &Arc<dyn Catalog>) {
    let record = |n: u32| catalog.record_event(NewEvent::new("test.counted", n, json!({ "n": n })), at(1));
    futures::future::join_all((0..200).map(record)).await.into_iter().for_each(|outcome| outcome.unwrap());
    let all = catalog.events_after(0, 1000).await.unwrap();
    assert_eq!(all.len(), 200);
    assert!(all.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let tail = catalog.events_after(all[149].sequence, 20).await.unwrap();
    assert_eq!(tail, all[150..170]);
    assert_eq!(catalog.events_after(all[199].sequence, 20).await.unwrap(), []);
    catalog.ping().await.unwrap();
}
