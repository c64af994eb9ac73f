//! Lists by page number, by cursor there and back, and the queries that can't be.

use serde_json::{Value, json};

use crate::taapit::world::World;

fn names(page: &Value) -> Vec<u32> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap().parse().unwrap()).collect()
}

/// Whichever way a list is walked, in whatever steps, each item is met once and in its order.
#[test]
fn there_and_back() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    for length in [0_u32, 1, 4, 6] {
        for _ in
            world.get("/v1/links?page_size=100", full).is_ok()["items"].as_array().unwrap().len()
                ..length as usize
        {
            let next = world.get("/v1/links", full).is_ok()["items"].as_array().unwrap().len() + 1;
            let name = json!({"name": next.to_string()}).to_string();
            assert_eq!(world.post("/v1/links", full, name).status, 201);
        }
        let expected: Vec<u32> = (1..=length).rev().collect();
        for size in 1..=7 {
            let uri = |query: &str| format!("/v1/links?page_size={size}&{query}");
            let (mut there, mut page_number) = (Vec::new(), 1);
            let mut page = world.get(&uri("page=1"), full).is_ok();
            let mut last;
            loop {
                there.push(names(&page));
                assert_eq!(page["page"], page_number);
                assert_eq!(page["has_prev"], page_number > 1);
                assert_eq!(page["has_next"], !page["next_cursor"].is_null());
                assert_eq!(page["has_prev"], !page["prev_cursor"].is_null());
                // The same by number.
                assert_eq!(world.get(&uri(&format!("page={page_number}")), full).is_ok(), page);
                last = page.clone();
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                page = world.get(&uri(&format!("cursor={cursor}")), full).is_ok();
                page_number += 1;
            }
            assert_eq!(there.concat(), expected);
            let mut back = vec![names(&last)];
            while let Some(cursor) = last["prev_cursor"].as_str() {
                last = world.get(&uri(&format!("cursor={cursor}")), full).is_ok();
                back.push(names(&last));
            }
            back.reverse();
            assert_eq!(back, there, "{length} by {size}");
        }
    }
}

#[test]
fn beyond_the_end_it_is_empty() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    for page in ["2", "18446744073709551615"] {
        let page = world.get(&format!("/v1/api-keys?page={page}&page_size=3"), full).is_ok();
        assert_eq!((&page["items"], &page["has_next"]), (&json!([]), &json!(false)));
        let back = page["prev_cursor"].as_str().unwrap();
        let back = world.get(&format!("/v1/api-keys?page_size=3&cursor={back}"), full).is_ok();
        assert_eq!(back["items"].as_array().unwrap().len(), 3);
    }
    let size = |uri: &str| world.get(uri, full).is_ok()["page_size"].take();
    assert_eq!(size("/v1/api-keys"), 10);
    assert_eq!(size("/v1/api-keys?page_size=100"), 100);
    assert_eq!(size("/v1/api-keys?page_size=101"), 100);
    assert_eq!(size("/v1/api-keys?other=1&other=2"), 10);
}

#[test]
fn queries_that_are_refused() {
    let (world, tokens) = World::new();
    let zeros = "0".repeat(32);
    for query in [
        "page=0",
        "page=-1",
        "page=x",
        "page=",
        "page=1.5",
        "page=%2B1",
        "page=1&page=2",
        "page=%ff",
        "page=18446744073709551616",
        "page_size=0",
        "page_size=ten",
        "cursor=",
        "cursor=bm90aGluZw",
        "cursor=after_",
        "cursor=after_1",
        "cursor=page_2",
        "cursor=after_%2B1",
        &format!("cursor=after_+{}", &zeros[1..]),
        &format!("cursor=before_0{zeros}"),
        &format!("cursor=after_{}", "é".repeat(16)),
        &format!("cursor=after_{}", "g".repeat(32)),
    ] {
        for list in ["api-keys", "links"] {
            let answer = world.get(&format!("/v1/{list}?{query}"), tokens.full.expose());
            answer.is_refused(400, "invalid_parameter");
        }
    }
}
