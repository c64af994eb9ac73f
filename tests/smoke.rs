//! smoke
use keyhasp::backend::Memory;
use keyhasp::*;
use std::sync::Arc;

#[test]
fn smoke() {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build().unwrap();
    let store: Arc<dyn KeyStore> = Arc::new(
        Store::builder(catalogue, [Prefix::new("acme").unwrap()]).open(Memory::new()).unwrap(),
    );
    let admin = AdminKeys::new(store.clone(), "root").unwrap();
    let owner = OwnerId::new("org").unwrap();
    let created =
        admin.create_owner(&owner, CreateOwner::with_key(CreateKey::new(Access::Full))).unwrap();
    let issued = created.first_key.unwrap();
    let verifier = Verifier::new(store.clone());
    let grant = verifier.verify(issued.token.expose()).unwrap();
    assert_eq!(grant.key(), issued.key.id);
    assert!(grant.allows(verifier.permission("links:write").unwrap()));
    let keys = OwnerKeys::new(store.clone(), owner, "alice").unwrap();
    let rotated = keys.rotate(issued.key.id, Rotate::new()).unwrap();
    assert!(verifier.verify(issued.token.expose()).is_ok());
    assert!(verifier.verify(rotated.token.expose()).unwrap().is_current());
    keys.end_earlier(issued.key.id).unwrap();
    assert_eq!(verifier.verify(issued.token.expose()), Err(Refusal::Unrecognized));
    admin.block(issued.key.id).unwrap();
    println!("{:?}", verifier.verify(rotated.token.expose()));
    let deleg = DelegatedKeys::new(store.clone(), &grant, "x").unwrap();
    println!("{:?}", deleg.get(issued.key.id).map(|_| ()));
    admin.revoke(issued.key.id).unwrap();
    println!("{:?}", verifier.verify(rotated.token.expose()));
    println!("{:#?}", admin.events(&ListEvents::new()).unwrap().items.len());
    println!("{:?}", admin.list(&ListKeys::new()).unwrap());
}
