//! Pinning: an administrator that sets what is there already becomes its setter.

#![allow(clippy::unwrap_used)]

use keyhasp::EventKind;
use keyhasp::event::Fields;
use keyhasp::key::{Expiry, SetBy};
use keyhasp::store::ForbiddenReason;
use keyhasp::{Access, CreateKey, Error, ListEvents, UpdateKey};

use crate::common::HOUR;
use crate::each::on_each;

#[test]
fn what_an_administrator_confirms_the_owner_widens_no_more() {
    on_each(|world| {
        let (keys, _) = world.owner("org");
        let access = || Access::ReadOnly;
        let expiry = Expiry::At(world.after(HOUR));
        let id = keys.create(CreateKey::new(access()).expires(expiry)).unwrap().key.id;
        let same = || UpdateKey::new().access(access()).expires(expiry);
        let before = keys.get(id).unwrap();
        assert_eq!((before.access_by, before.expiry_by), (SetBy::Owner, SetBy::Owner));
        // The owner who sets the same changes nothing.
        assert_eq!(keys.update(id, same()).unwrap(), before);
        let pinned = world.admin.update(id, same()).unwrap();
        assert_eq!(
            (pinned.access_by, pinned.expiry_by),
            (SetBy::Administrator, SetBy::Administrator)
        );
        assert_eq!((&pinned.access, pinned.expires_at), (&before.access, before.expires_at));
        assert_eq!(pinned.version, before.version.next());
        let event = world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items.pop();
        let event = event.unwrap();
        assert_eq!(event.kind, EventKind::KeyUpdated);
        assert_eq!(event.fields, Fields::ACCESS.with(Fields::EXPIRY));
        // A second time there is nothing to change.
        assert_eq!(world.admin.update(id, same()).unwrap(), pinned);
        for (field, wider) in [
            ("access", UpdateKey::new().access(Access::Full)),
            ("expiry", UpdateKey::new().expires(Expiry::At(world.after(HOUR * 2)))),
            ("expiry", UpdateKey::new().expires(Expiry::Never)),
        ] {
            let refused = keys.update(id, wider).unwrap_err();
            let reason = ForbiddenReason::SetByAdministrator { field };
            assert!(matches!(refused, Error::Forbidden(given) if given == reason), "{refused}");
        }
        let shorter = Expiry::At(world.after(HOUR / 2));
        let shortened = keys.update(id, UpdateKey::new().expires(shorter)).unwrap();
        assert_eq!(shortened.expiry_by, SetBy::Administrator);
        assert!(keys.extend_expiry(id, expiry).is_err());
    });
}

/// Also an expiry that has come: it is no new one.
#[test]
fn an_expired_key_is_pinned_as_it_is() {
    on_each(|world| {
        let (keys, _) = world.owner("org");
        let at = world.after(HOUR);
        let expiry = Expiry::At(at);
        let id = keys.create(CreateKey::new(Access::Full).expires(expiry)).unwrap().key.id;
        world.clock.set(world.after(HOUR * 2));
        let pinned = world.admin.update(id, UpdateKey::new().expires(expiry)).unwrap();
        assert_eq!((pinned.expires_at, pinned.expiry_by), (Some(at), SetBy::Administrator));
        assert!(keys.extend_expiry(id, Expiry::Never).is_err());
        // What isn't set stays the owner's.
        assert_eq!(pinned.access_by, SetBy::Owner);
    });
}
