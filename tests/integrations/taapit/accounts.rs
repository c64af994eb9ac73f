//! Several accounts on one service: each has its own keys, things, alerts and rate.

use serde_json::{Value, json};

use crate::taapit::world::{World, user};

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect()
}

#[test]
fn each_sees_and_reaches_its_own_alone() {
    let (world, _) = World::new();
    let accounts: Vec<_> = [2, 3]
        .map(|number| {
            let main = world.key_of(user(number), &format!("main {number}"), "full_access");
            let website =
                world.key_of(user(number), &format!("site {number}"), "limited:links=write");
            (number, main.token.expose().to_owned(), website)
        })
        .into();
    for (number, token, website) in &accounts {
        let listed = world.get("/v1/api-keys", token).is_ok();
        assert_eq!(names(&listed), [format!("site {number}"), format!("main {number}")]);
        let link = json!({"name": format!("link of {number}")}).to_string();
        assert_eq!(world.post("/v1/links", website.token.expose(), link).status, 201);
        let links = world.get("/v1/links", token).is_ok();
        assert_eq!(names(&links), [format!("link of {number}")]);
    }
    let (_, first, _) = &accounts[0];
    let (_, second, theirs) = &accounts[1];
    let uri = format!("/v1/api-keys/key_{:032x}", theirs.key.id.as_u128());
    for answer in [
        world.delete(&uri, first),
        world.post(&format!("{uri}/rotate"), first, ""),
        world.patch(&uri, first, r#"{"allowed_ips": null}"#),
    ] {
        answer.is_refused(404, "not_found");
    }
    assert_eq!(world.get("/v1/links", theirs.token.expose()).status, 200);
    assert_eq!(world.delete(&uri, second).is_ok()["is_active"], false);
}
