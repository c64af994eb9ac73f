//! The list of keys, page by page.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use form_urlencoded::{Serializer, parse};
use keyhasp::{Error, Invalid, Key, ListKeys};
use serde::Serialize;

use super::api_key::ApiKey;
use super::caller::Caller;
use super::problem::Problem;
use super::routes::API_KEYS;
use super::service::Service;
use super::tenant::TenantId;

const CURSOR: &str = "cursor";
const LIMIT: &str = "limit";
const TENANT: &str = "tenant_id";

pub(crate) async fn list_api_keys(
    State(service): State<Arc<Service>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let query = Query::read(query.as_deref().unwrap_or_default())?;
    let tenants = query.tenants(&caller, &service).await?;
    if tenants.is_empty() {
        // The list is empty, so no cursor can belong to it.
        return if query.cursor.is_none() {
            Ok(Json(Page::default()))
        } else {
            Err(Problem::INVALID_PARAMS)
        };
    }
    let list = query.list(&tenants)?;
    let page = service.keys.list(&list).await.map_err(|error| match error {
        Error::Invalid(_) => Problem::INVALID_PARAMS,
        error => error.into(),
    })?;
    let next = page.next.map(|cursor| query.link(&service.link_base, &cursor));
    let shown = |key: &Key| ApiKey::of(key, service.verifier.catalogue());
    Ok(Json(Page::new(page.items.iter().filter_map(shown).collect(), next)))
}

/// The model `ListApiKeys200Response`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Page {
    links: Links,
    page_size: usize,
    /// The total, which this API never computes: always 0.
    total_count: u64,
    data: Vec<ApiKey>,
}

/// The links to other pages; empty if there is none.
#[derive(Debug, Default, Serialize)]
struct Links {
    previous: String,
    next: String,
}

impl Page {
    fn new(mut data: Vec<ApiKey>, next: Option<String>) -> Self {
        // The store sorts by key id, which is the order of creation unless a clock stepped back.
        data.sort_by_key(|key| Reverse((key.created, key.id)));
        let links = Links { previous: String::new(), next: next.unwrap_or_default() };
        Self { links, page_size: data.len(), total_count: 0, data }
    }
}

/// The query of a request.
#[derive(Debug)]
struct Query {
    /// The parameters that a link repeats, as the client wrote them.
    kept: Vec<(String, String)>,
    tenants: Vec<TenantId>,
    limit: usize,
    cursor: Option<String>,
}

impl Query {
    fn read(text: &str) -> Result<Self, Problem> {
        let (mut tenants, mut limit, mut cursor) = (Vec::new(), ListKeys::DEFAULT_LIMIT, None);
        let mut kept = Vec::new();
        for (name, value) in parse(text.as_bytes()).into_owned() {
            let number = || value.parse::<i64>().map_err(|_| Problem::INVALID_PARAMS);
            match name.as_str() {
                TENANT => {
                    let tenant = TenantId(number()?);
                    if !tenants.contains(&tenant) {
                        tenants.push(tenant);
                    }
                    // Each tenant that isn't the caller's costs a lookup, and the store's list
                    // takes no more owners.
                    if tenants.len() > ListKeys::MAX_OWNERS {
                        return Err(Problem::INVALID_PARAMS);
                    }
                }
                LIMIT => {
                    let wanted = usize::try_from(number()?).map_err(|_| Problem::INVALID_PARAMS)?;
                    limit = if wanted == 0 { ListKeys::DEFAULT_LIMIT } else { wanted };
                }
                CURSOR => cursor = Some(value.clone()).filter(|cursor| !cursor.is_empty()),
                _ => {}
            }
            // Other parameters aren't repeated: a client may have put a secret there by mistake.
            if [TENANT, LIMIT].contains(&name.as_str()) {
                kept.push((name, value));
            }
        }
        Ok(Self { kept, tenants, limit, cursor })
    }

    /// Returns the tenants whose keys are listed: those that the query names, or all that the
    /// caller may manage. A tenant that doesn't exist or is archived has no keys. A tenant of other
    /// callers is forbidden.
    async fn tenants(&self, caller: &Caller, service: &Service) -> Result<Vec<TenantId>, Problem> {
        if self.tenants.is_empty() {
            return match caller.tenants() {
                all if all.len() > ListKeys::MAX_OWNERS => Err(Problem::TOO_MANY_TENANTS),
                all => Ok(all.to_vec()),
            };
        }
        let (managed, others): (Vec<TenantId>, Vec<TenantId>) =
            self.tenants.iter().partition(|tenant| caller.manages(**tenant));
        for tenant in others {
            if service.is_archived(tenant).await? == Some(false) {
                return Err(Problem::FORBIDDEN);
            }
        }
        Ok(managed)
    }

    fn list(&self, tenants: &[TenantId]) -> Result<ListKeys, Invalid> {
        let mut list = ListKeys::new().limit(self.limit);
        for tenant in tenants {
            list = list.owner(tenant.owner()?);
        }
        Ok(match &self.cursor {
            Some(cursor) => list.cursor(cursor),
            None => list,
        })
    }

    /// Returns the link to the next page of this query.
    fn link(&self, base: &str, cursor: &str) -> String {
        let query = Serializer::new(String::new())
            .extend_pairs(&self.kept)
            .append_pair(CURSOR, cursor)
            .finish();
        format!("{base}{API_KEYS}?{query}")
    }
}
