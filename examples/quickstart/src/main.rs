//! A tour of keyhasp: three organisations and the whole life of their API keys, as a story.
//!
//! A service for short links keeps its customers' keys. Each step below is one function; read
//! them from top to bottom. Every answer is checked, and a wrong one ends the program with a
//! non-zero exit code. `--help` lists the options.

mod args;
mod database;
mod page;
mod tour;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use keyhasp::key::SetBy;
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, Expiry, ForbiddenReason, Issued, Key, KeyId, Kind,
    ListEvents, ListKeys, Network, Rate, RejectReason, Rotate, SetLimits, State, Token, UpdateKey,
    VerifyError, VerifyRequest, token,
};
use serde_json::json;

use args::Command;
use database::Database;
use page::{Page, grouped, moment, moment_or_never, short_id, shortened};
use tour::{Outcome, Tour, check};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Tells the story, step by step.
fn tell(tour: &mut Tour) -> Outcome {
    let first = first_keys(tour)?;
    let trial = trial_runs_out(tour, &first.mill)?;
    let dashboard = limited_access(tour)?;
    let importer = settings_over_defaults(tour)?;
    let website = rotation(tour, &first.linden)?;
    limits(tour, &importer)?;
    block(tour, &importer)?;
    let till = leak(tour, &first.mill)?;
    listing(tour)?;
    let good = [&website, &first.harbour, &dashboard, &importer, &till];
    open_again(tour, &website, &first.mill, &trial)?;
    hundred_thousand(tour, &good)?;
    who_did_what_when(tour, till.key.id)
}

/// The first key of each organisation.
struct FirstKeys {
    linden: Issued,
    harbour: Issued,
    mill: Issued,
}

/// Creates each owner together with its first key, as an administrator.
fn first_keys(tour: &mut Tour) -> Outcome<FirstKeys> {
    tour.step("Three organisations, and their first keys")?;
    tour.page.say(
        "Ada, who runs the service, creates each organisation together with its first key, in one \
         change. Every key says what it may do: there is no default.",
    )?;
    let key = |name: &str| CreateOwner::with_key(CreateKey::new(Access::Full).name(name));
    let owners = [
        (tour.owners.linden, key("website")),
        (tour.owners.harbour, key("backend").defaults(json!({"region": "eu", "per_minute": 600}))),
        (tour.owners.mill, key("till").max_access(Access::limited(["links:*"])?)),
    ];
    let [linden, harbour, mill] = owners.map(|(owner, request)| -> Outcome<Issued> {
        let created = tour.ada.create_owner(&owner, request)?;
        created.first_key.ok_or_else(|| "an owner came without its first key".into())
    });
    let first = FirstKeys { linden: linden?, harbour: harbour?, mill: mill? };

    tour.page.space()?;
    let rows = [&first.linden, &first.harbour, &first.mill].map(|issued| {
        let key = &issued.key;
        [key.owner.to_string(), name(key), key.access.to_string(), shortened(&issued.token)]
    });
    tour.page.table(["owner", "key", "may do", "token"], &rows)?;
    tour.page.show_once(
        "The client gets its token once, whole, when the key is created. The store keeps a keyed hash and can't show the token again. Below, tokens are cut to a piece of their key's public id:",
        &first.linden.token,
    )?;
    let verified = tour.accepted("website's token", &first.linden.token)?;
    check(verified.owner_id() == &first.linden.key.owner, "the verified key names the owner")?;
    tour.rejected("the same, one letter changed", mistyped(&first.linden.token), UNRECOGNIZED)?;
    tour.rejected("a guess", "shrt_live_letmein", UNRECOGNIZED)?;
    Ok(first)
}

/// Lets an owner try more than its maximum access, for two weeks.
fn trial_runs_out(tour: &mut Tour, till: &Issued) -> Outcome<Issued> {
    tour.step("A trial that runs out")?;
    tour.page.say(
        "Mill Bakery's keys may do `links:*` and no more: that is its maximum access. Ada lets it try the rest for two weeks, with a trial key: a trial may go beyond the maximum.",
    )?;
    tour.page.space()?;
    let end = tour.now().saturating_add(14 * DAY);
    let request = CreateKey::trial(Access::Full, Expiry::At(end)).name("try everything");
    let trial = tour.ada.create(&tour.owners.mill, request)?;
    tour.accepted("the trial's token", &trial.token)?;
    may(tour, "the trial", &trial.token, "stats:read", true)?;
    may(tour, "till", &till.token, "stats:read", false)?;

    tour.later(14 * DAY)?;
    tour.rejected(
        "the trial's token",
        trial.token.expose(),
        VerifyError::Rejected(RejectReason::Expired),
    )?;
    tour.accepted("till's token", &till.token)?;
    Ok(trial)
}

/// Limits a key to a few permissions, by name and wildcard.
fn limited_access(tour: &mut Tour) -> Outcome<Issued> {
    tour.step("Limited access, and a missing permission")?;
    tour.page.say(
        "Hugo of Harbour Labs creates a key for a dashboard on the wall. It reads links and statistics, nothing more.",
    )?;
    tour.page.space()?;
    let hugo = tour.keys_of(tour.owners.harbour, "hugo@harbour")?;
    let access = Access::limited(["links:read", "stats:*"])?;
    let dashboard = hugo.create(CreateKey::new(access).name("dashboard"))?;
    tour.accepted("dashboard's token", &dashboard.token)?;
    for (permission, allowed) in
        [("links:read", true), ("stats:read", true), ("links:write", false)]
    {
        may(tour, "dashboard", &dashboard.token, permission, allowed)?;
    }
    let misspelt = CreateKey::new(Access::limited(["links:reed"])?);
    tour.failed("a key with a misspelt access", hugo.create(misspelt), |error| {
        matches!(error, Error::Invalid(_))
    })?;
    Ok(dashboard)
}

/// Lays a key's settings over its owner's defaults.
fn settings_over_defaults(tour: &mut Tour) -> Outcome<Issued> {
    tour.step("Settings over defaults")?;
    tour.page.say(
        "Harbour Labs has default settings. Hugo's importer needs a higher rate, so its key sets `per_minute`. A setting that the key leaves out comes from the defaults.",
    )?;
    tour.page.space()?;
    let hugo = tour.keys_of(tour.owners.harbour, "hugo@harbour")?;
    let request = CreateKey::new(Access::Full).name("importer");
    let importer = hugo.create(request.settings(json!({"per_minute": 5_000})))?;
    let defaults = hugo.owner()?.defaults;
    let rows = ["per_minute", "region"].map(|name| {
        let shown = |value: Option<&serde_json::Value>| {
            value.map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let key = &importer.key;
        [
            name.to_owned(),
            shown(defaults.get(name)),
            shown(key.own_settings.get(name)),
            shown(key.settings.get(name)),
        ]
    });
    tour.page.table(["setting", "default", "importer's own", "effective"], &rows)?;
    let holds = json!({"per_minute": 5_000, "region": "eu"});
    check(json!(importer.key.settings) == holds, "the importer's settings lie over the defaults")?;
    Ok(importer)
}

/// Issues a new token while the previous one stays valid.
fn rotation(tour: &mut Tour, website: &Issued) -> Outcome<Issued> {
    tour.step("Rotation, with a grace")?;
    tour.page.say(
        "Lena of Linden Press rotates the website's key. The previous token stays valid for six hours, so that she has time to deploy the new one.",
    )?;
    tour.page.space()?;
    let lena = tour.keys_of(tour.owners.linden, "lena@linden")?;
    let rotated = lena.rotate(website.key.id, Rotate::with_grace(6 * HOUR))?;
    check(rotated.key.id == website.key.id, "a rotated key keeps its id")?;
    let old = tour.accepted("the previous token", &website.token)?;
    let new = tour.accepted("the new token", &rotated.token)?;
    check(!old.is_current() && new.is_current(), "the verified key says which token is current")?;

    tour.later(6 * HOUR)?;
    let superseded = VerifyError::Rejected(RejectReason::Superseded);
    tour.rejected("the previous token", website.token.expose(), superseded)?;
    tour.accepted("the new token", &rotated.token)?;
    Ok(rotated)
}

/// Limits a key's rate and its networks, and shows its last use.
fn limits(tour: &mut Tour, importer: &Issued) -> Outcome {
    tour.step("Limits, and the last use")?;
    tour.page.say(
        "Ada limits the importer to three uses a minute. Hugo tightens that to two, and to the network of his office. He can't loosen a limit that Ada has set.",
    )?;
    tour.page.space()?;
    let hugo = tour.keys_of(tour.owners.harbour, "hugo@harbour")?;
    let id = importer.key.id;
    let a_minute = |count| Rate::new(count, MINUTE).map(|rate| SetLimits::new().rate(rate));
    tour.ada.update(id, UpdateKey::new().limits(a_minute(3)?))?;
    let office: Network = "192.0.2.0/24".parse()?;
    let key = hugo.update(id, UpdateKey::new().limits(a_minute(2)?.networks([office])))?;
    check(
        key.limits.rate.is_some_and(|limit| limit.by == SetBy::Administrator),
        "the limit stays Ada's",
    )?;
    let looser = hugo.update(id, UpdateKey::new().limits(a_minute(10)?));
    tour.failed("ten a minute, set by Hugo", looser, |error| {
        matches!(error, Error::Forbidden(ForbiddenReason::SetByAdministrator { field: "rate" }))
    })?;

    tour.rejected(
        "importer's token, no address",
        importer.token.expose(),
        VerifyError::Rejected(RejectReason::AddressMissing),
    )?;
    let request = VerifyRequest::new(importer.token.expose().as_bytes());
    let outside = tour.verifier.verify_request(&request.address("198.51.100.7".parse()?));
    check(
        outside == Err(VerifyError::Rejected(RejectReason::AddressRejected)),
        "it is rejected from another network",
    )?;
    let inside = request.address("192.0.2.17".parse()?);
    for left in [1, 0] {
        let verified = tour.verifier.verify_request(&inside)?;
        check(
            verified.rate().is_some_and(|rate| rate.remaining == left),
            "the verified key says what is left",
        )?;
        tour.page.accepted("importer's token, from the office", &format!("{left} left"))?;
    }
    let Err(VerifyError::Rejected(RejectReason::RateLimited(limited))) =
        tour.verifier.verify_request(&inside)
    else {
        return Err("the third use in a minute was not rejected for its rate".into());
    };
    let wait = limited.retry_after.ok_or("the rate never allows it again")?;
    let why = format!("rate limit reached, retry in {} s", wait.as_secs());
    tour.page.rejected("the same a third time", &why)?;

    let usage = tour.ada.get(id)?.usage.ok_or("the store records no usage")?;
    let last_used = usage.last_used_at.map(moment).ok_or("no last use is recorded")?;
    check(usage.rejected.total() == 3, "three rejections of the right secret are counted")?;
    tour.page.space()?;
    tour.page.say(&format!("Last used {last_used}; rejected {} times.", usage.rejected.total()))?;
    let lifted = SetLimits::new().clear_rate().clear_networks();
    tour.ada.with_reason("the import is over")?.update(id, UpdateKey::new().limits(lifted))?;
    tour.page.say("The import is over, and Ada lifts both limits.")?;
    tour.page.space()?;
    tour.accepted("importer's token", &importer.token)?;
    Ok(())
}

/// Blocks a key with the administrator's switch, beside the owner's own.
fn block(tour: &mut Tour, importer: &Issued) -> Outcome {
    tour.step("A block that the owner can't lift")?;
    tour.page.say(
        "The importer runs in a loop, and Ada blocks its key. Hugo's handle can deactivate and activate keys, but it has no `unblock`: such a call wouldn't compile.",
    )?;
    tour.page.space()?;
    let hugo = tour.keys_of(tour.owners.harbour, "hugo@harbour")?;
    let id = importer.key.id;
    tour.ada.with_reason("two million calls since midnight")?.block(id)?;
    let blocked = VerifyError::Rejected(RejectReason::Blocked);
    tour.rejected("importer's token", importer.token.expose(), blocked)?;
    let activated = hugo.activate(id)?;
    check(activated.state == State::Blocked, "the owner's switch doesn't lift the block")?;
    tour.rejected("the same, after Hugo's activate", importer.token.expose(), blocked)?;
    let rotated = hugo.rotate(id, Rotate::new());
    tour.failed("a new token for Hugo", rotated, |error| {
        matches!(error, Error::Forbidden(ForbiddenReason::AdministratorOnly))
    })?;
    tour.page.space()?;
    tour.page.say("Hugo fixes the loop, and Ada lifts the block.")?;
    tour.page.space()?;
    tour.ada.with_reason("loop fixed")?.unblock(id)?;
    tour.accepted("importer's token", &importer.token)?;
    Ok(())
}

/// Blocks a leaked key at once, and replaces its token while it is blocked.
fn leak(tour: &mut Tour, till: &Issued) -> Outcome<Issued> {
    tour.step("A leaked key")?;
    let id = till.key.id;
    let published = format!("till:\n  api_key: {}\n", till.token.expose());
    let found = token::scan(published.as_bytes(), &[Tour::prefix()?]);
    let [found] = found.as_slice() else { return Err("the scanner missed the token".into()) };
    check(found.id == id, "the scanner names the key")?;
    tour.page.say(&format!(
        "A scanner finds a token in a published file. The prefix and the checksum are all it needs. The token belongs to key {}, Mill Bakery's till. Ada blocks the key first, then forces a rotation while it is blocked: the leaked token is never accepted again.",
        short_id(id)
    ))?;
    tour.page.space()?;
    let blocked = VerifyError::Rejected(RejectReason::Blocked);
    let ada = tour.ada.with_reason("token published")?;
    ada.block(id)?;
    tour.rejected("the leaked token, blocked", till.token.expose(), blocked)?;
    let mira = tour.keys_of(tour.owners.mill, "mira@mill")?;
    tour.failed("a rotation by its owner", mira.rotate(id, Rotate::forced()), |error| {
        matches!(error, Error::Forbidden(ForbiddenReason::AdministratorOnly))
    })?;
    let rotated = ada.rotate(id, Rotate::forced())?;
    check(rotated.key.state == State::Blocked, "a forced rotation leaves the block")?;
    tour.rejected("the leaked token, after rotation", till.token.expose(), UNRECOGNIZED)?;
    tour.rejected("the new token, still blocked", rotated.token.expose(), blocked)?;

    tour.later(HOUR)?;
    tour.page.say("Mira of Mill Bakery has put the new token into her till.")?;
    tour.page.space()?;
    tour.ada.with_reason("the new token is in place")?.unblock(id)?;
    mira.update(id, UpdateKey::new().name("till, second token"))?;
    tour.accepted("the new token", &rotated.token)?;
    tour.rejected("the leaked token", till.token.expose(), UNRECOGNIZED)?;
    Ok(rotated)
}

/// Lists keys by state, a page at a time.
fn listing(tour: &mut Tour) -> Outcome {
    tour.step("A listing by state, with pages")?;
    tour.page.say(
        "Lena creates three more keys, deactivates one of them and revokes another. Then Ada lists the keys of the three organisations, newest first, three to a page.",
    )?;
    let lena = tour.keys_of(tour.owners.linden, "lena@linden")?;
    let [_, paused, over] = ["newsletter", "press kit", "old website"]
        .map(|name| lena.create(CreateKey::new(Access::ReadOnly).name(name)));
    lena.deactivate(paused?.key.id)?;
    lena.revoke(over?.key.id)?;

    let owners = [tour.owners.linden, tour.owners.harbour, tour.owners.mill];
    let query = owners.into_iter().fold(ListKeys::new().limit(3), ListKeys::owner);
    let active = pages(tour, "active", &query.clone().states([State::Active]))?;
    check(active == 6, "six keys are active")?;
    let others = [State::Expired, State::Deactivated, State::Blocked, State::Revoked];
    let others = pages(tour, "any other state", &query.states(others))?;
    check(others == 3, "three keys are not")
}

/// Prints page after page. The cursor of a page asks for the next.
fn pages(tour: &mut Tour, what: &str, query: &ListKeys) -> Outcome<usize> {
    let (mut listed, mut number, mut next) = (0, 0, query.clone());
    loop {
        let page = tour.ada.list(&next)?;
        number += 1;
        listed += page.items.len();
        let rows = page.items.iter().map(|key| {
            let expires = moment_or_never(key.expires_at);
            [
                state(key),
                key.owner.to_string(),
                name(key),
                kind(key),
                key.access.to_string(),
                expires,
            ]
        });
        tour.page.space()?;
        tour.page.say(&format!("{what}, page {number}"))?;
        let head = ["state", "owner", "key", "kind", "may do", "expires"];
        tour.page.table(head, &rows.collect::<Vec<_>>())?;
        match page.next {
            Some(cursor) => next = query.clone().cursor(cursor),
            None => return Ok(listed),
        }
    }
}

/// Closes the store and opens it again: acknowledged changes are still there.
fn open_again(tour: &mut Tour, website: &Issued, leaked: &Issued, trial: &Issued) -> Outcome {
    tour.catch_up();
    tour.step("Closed, and opened again")?;
    if tour.database().path().is_none() {
        return Ok(tour.page.say(
            "The memory backend keeps nothing: there is no file to open again. The story goes on \
             with the same store.",
        )?);
    }
    tour.reopen()?;
    tour.page.say(
        "The story's clock has caught up with the real one. The program has closed the store and opened it again from its database, now on the operating system's clock.",
    )?;
    tour.page.space()?;
    tour.accepted("website's new token", &website.token)?;
    tour.rejected("the leaked token", leaked.token.expose(), UNRECOGNIZED)?;
    tour.rejected(
        "the trial's token",
        trial.token.expose(),
        VerifyError::Rejected(RejectReason::Expired),
    )
}

/// Verifies 100,000 times, from memory alone.
fn hundred_thousand(tour: &mut Tour, good: &[&Issued]) -> Outcome {
    const CALLS: u64 = 100_000;
    tour.step("100,000 verifications")?;
    let mut right = 0;
    let started = Instant::now();
    for issued in good.iter().cycle().take(CALLS as usize) {
        let verified = tour.verifier.verify(issued.token.expose())?;
        right += u64::from(verified.key_id() == issued.key.id);
    }
    let elapsed = started.elapsed();
    check(right == CALLS, "every verification names its key")?;
    let rate = (CALLS as f64 / elapsed.as_secs_f64()) as u64;
    let build = if cfg!(debug_assertions) {
        "a debug build: `--release` is faster"
    } else {
        "a release build"
    };
    tour.page.fact("right", &format!("{} of {}", grouped(right), grouped(CALLS)))?;
    tour.page.fact("took", &format!("{} ms, on one thread", elapsed.as_millis()))?;
    tour.page.fact("rate", &format!("{} a second ({build})", grouped(rate)))?;
    Ok(())
}

/// Prints the events of one key: the audit trail.
fn who_did_what_when(tour: &mut Tour, key: KeyId) -> Outcome {
    tour.step("Who did what, and when")?;
    tour.page.say(&format!(
        "Every change wrote an event in the same commit. These are the events of key {}, Mill Bakery's till. An event names the fields that changed, never their values.",
        short_id(key)
    ))?;
    tour.page.space()?;
    let mut rows = Vec::new();
    let mut after = Some(0);
    while let Some(sequence) = after {
        let page = tour.ada.events(&ListEvents::new().key(key).after(sequence))?;
        rows.extend(page.items.iter().map(|event| {
            let by = &event.authority;
            [
                event.sequence.to_string(),
                moment(event.at),
                by.actor.to_string(),
                event.kind.to_string(),
                event.fields.names().collect::<Vec<_>>().join(", "),
                by.reason.as_ref().map_or_else(String::new, ToString::to_string),
            ]
        }));
        after = page.next;
    }
    tour.page.table(["event", "when", "who", "did what", "fields", "why"], &rows)?;
    let kinds: Vec<&str> = rows.iter().map(|row| row[3].as_str()).collect();
    let expected = ["key_created", "key_blocked", "key_rotated", "key_unblocked", "key_updated"];
    check(kinds == expected, "the key's events are complete and in order")
}

const UNRECOGNIZED: VerifyError = VerifyError::Unrecognized;

/// Checks whether a token's verified key allows a permission.
fn may(tour: &mut Tour, who: &str, token: &Token, name: &str, expected: bool) -> Outcome {
    // A service resolves its permissions once, at its start; each check is then one bit test.
    let permission = tour.verifier.permission(name).ok_or("a permission is not declared")?;
    let verified = tour.verifier.verify(token.expose())?;
    let allowed = verified.allows(permission);
    check(allowed == expected, &format!("{who} and {name}"))?;
    let what = format!("{who} asks for {name}");
    if allowed {
        tour.page.accepted(&what, "the verified key allows it")?;
    } else {
        tour.page.refused(&what, "the verified key doesn't allow it")?;
    }
    Ok(())
}

/// Changes a token's last letter.
fn mistyped(token: &Token) -> Vec<u8> {
    let mut bytes = token.expose().as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last = if *last == b'x' { b'y' } else { b'x' };
    }
    bytes
}

fn name(key: &Key) -> String {
    key.name.as_ref().map_or_else(|| "-".into(), ToString::to_string)
}

fn kind(key: &Key) -> String {
    match key.kind {
        Kind::Standard => "standard".into(),
        Kind::Trial => "trial".into(),
    }
}

fn state(key: &Key) -> String {
    format!("{:?}", key.state).to_lowercase()
}

fn introduce(tour: &mut Tour) -> Outcome {
    let database = match tour.database().path() {
        None => "none: memory ends with this program".to_owned(),
        Some(path) if tour.database().is_temporary() => {
            format!("{}, removed at the end", path.display())
        }
        Some(path) => format!("{}, kept", path.display()),
    };
    let backend = tour.database().backend();
    let (owners, run) = (&tour.owners, tour.owners.run);
    let owners = format!("{}, {}, {}", owners.linden, owners.harbour, owners.mill);
    let clock = format!("set by hand; the story begins on {} UTC", moment(tour.now()));
    tour.page.title("keyhasp: a service for short links, and the keys of its customers")?;
    tour.page.fact("backend", backend)?;
    tour.page.fact("database", &database)?;
    tour.page.fact("customers", &owners)?;
    if run > 1 {
        let run =
            format!("number {run} on this database; keys of the runs before stay as they are");
        tour.page.fact("run", &run)?;
    }
    Ok(tour.page.fact("clock", &clock)?)
}

fn conclude(tour: &mut Tour) -> Outcome {
    tour.close()?;
    tour.page.space()?;
    tour.page.say("Every answer was checked, and correct.")?;
    match tour.database().path() {
        Some(path) if !tour.database().is_temporary() => {
            let kept = format!("{}: the story can run on it again", path.display());
            Ok(tour.page.fact("kept", &kept)?)
        }
        _ => Ok(()),
    }
}

fn run(database: Database) -> Outcome {
    let mut tour = Tour::begin(database, Page::on_stdout())?;
    introduce(&mut tour)?;
    tell(&mut tour)?;
    conclude(&mut tour)
}

fn main() -> ExitCode {
    let parsed = args::parse(std::env::args_os().skip(1));
    let chosen = parsed.and_then(|command| match command {
        Command::Help => Ok(None),
        Command::Tour(args) => Database::choose(args).map(Some),
    });
    let done = match chosen {
        Ok(None) => io::stdout().write_all(args::HELP.as_bytes()).map_err(Into::into),
        Ok(Some(database)) => run(database),
        Err(problem) => {
            complain(&format!("{problem}\n`--help` lists the options"));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !is_broken_pipe(&*error) {
                complain(&error.to_string());
            }
            ExitCode::FAILURE
        }
    }
}

/// Tells whether the reader of the output has stopped reading, which needs no message.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn complain(problem: &str) {
    // Without standard error, the exit code alone reports the problem.
    let _ = writeln!(io::stderr(), "quickstart: {problem}");
}
