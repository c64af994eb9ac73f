//! Stores around a store: the calls that they leave as they are.

/// Inside an `impl KeyStore`: passes the calls of these names on to `self.store`.
macro_rules! pass_on {
    (@call $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty) => {
        fn $name(&self, $($argument: $kind),*) -> $answer {
            self.store.$name($($argument),*)
        }
    };
    (@try $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty) => {
        pass_on!(@call $name($($argument: $kind),*) -> Result<$answer, keyhasp::Error>);
    };
    (@managed $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty) => {
        pass_on!(@try $name(by: &keyhasp::authority::Authority $(, $argument: $kind)*) -> $answer);
    };
    (@catalogue) => { pass_on!(@call catalogue() -> &keyhasp::Catalogue); };
    (@health) => { pass_on!(@call health() -> keyhasp::store::Health); };
    (@close) => { pass_on!(@try close() -> ()); };
    (@recover) => { pass_on!(@try recover() -> ()); };
    (@wait_for_event) => {
        pass_on!(@try wait_for_event(after: u64, timeout: std::time::Duration) -> u64);
    };
    (@block_leaked) => {
        pass_on!(@managed block_leaked(token: &[u8]) -> Option<keyhasp::store::FoundToken>);
    };
    (@key) => { pass_on!(@managed key(id: keyhasp::KeyId) -> keyhasp::Key); };
    (@change_key) => {
        pass_on!(@managed change_key(
            id: keyhasp::KeyId,
            action: &keyhasp::store::KeyAction,
            expected: Option<keyhasp::Version>
        ) -> keyhasp::Key);
    };
    (@rotate_key) => {
        pass_on!(@managed rotate_key(
            id: keyhasp::KeyId,
            request: &keyhasp::Rotate,
            expected: Option<keyhasp::Version>
        ) -> keyhasp::Issued);
    };
    (@change_owner) => {
        pass_on!(@managed change_owner(
            id: &keyhasp::OwnerId,
            action: &keyhasp::store::OwnerAction,
            expected: Option<keyhasp::Version>
        ) -> keyhasp::Owner);
    };
    (@change_rules) => {
        pass_on!(@managed change_rules(
            request: &keyhasp::ChangeRules,
            expected: Option<keyhasp::Version>
        ) -> keyhasp::store::Rules);
    };
    (@count_keys) => { pass_on!(@managed count_keys(query: &keyhasp::ListKeys) -> u64); };
    (@create_key) => {
        pass_on!(@managed create_key(
            owner: &keyhasp::OwnerId,
            request: &keyhasp::CreateKey
        ) -> keyhasp::Issued);
    };
    (@create_owner) => {
        pass_on!(@managed create_owner(
            id: &keyhasp::OwnerId,
            request: &keyhasp::CreateOwner
        ) -> keyhasp::store::CreatedOwner);
    };
    (@events) => {
        pass_on!(@managed events(query: &keyhasp::ListEvents) -> keyhasp::store::Events);
    };
    (@identify) => {
        pass_on!(@managed identify(token: &[u8]) -> Option<keyhasp::store::FoundToken>);
    };
    (@key_by_numeric_id) => {
        pass_on!(@managed key_by_numeric_id(id: keyhasp::NumericId) -> keyhasp::Key);
    };
    (@list_keys) => {
        pass_on!(@managed list_keys(query: &keyhasp::ListKeys) -> keyhasp::Page<keyhasp::Key>);
    };
    (@list_owners) => {
        pass_on!(@managed list_owners(query: &keyhasp::ListOwners) -> keyhasp::Page<keyhasp::Owner>);
    };
    (@invalidate_tokens_issued_before) => {
        pass_on!(@managed invalidate_tokens_issued_before(
            to: keyhasp::Timestamp,
            expected: Option<keyhasp::Version>
        ) -> keyhasp::store::Rules);
    };
    (@reveal_token) => { pass_on!(@managed reveal_token(id: keyhasp::KeyId) -> keyhasp::Token); };
    (@reveal_tokens) => {
        pass_on!(@managed reveal_tokens(
            query: &keyhasp::ListKeys
        ) -> keyhasp::Page<keyhasp::store::RevealedToken>);
    };
    (@owner) => { pass_on!(@managed owner(id: &keyhasp::OwnerId) -> keyhasp::Owner); };
    (@prune_events) => { pass_on!(@managed prune_events(before: keyhasp::Timestamp) -> u64); };
    (@purge_key) => {
        pass_on!(@managed purge_key(
            id: keyhasp::KeyId,
            expected: Option<keyhasp::Version>
        ) -> ());
    };
    (@purge_owner) => {
        pass_on!(@managed purge_owner(
            id: &keyhasp::OwnerId,
            expected: Option<keyhasp::Version>
        ) -> ());
    };
    (@revoke_all) => {
        pass_on!(@managed revoke_all(
            owner: &keyhasp::OwnerId,
            replacement: Option<&keyhasp::CreateKey>,
            expected: Option<keyhasp::Version>
        ) -> keyhasp::store::RevokedAll);
    };
    (@rules) => { pass_on!(@managed rules() -> keyhasp::store::Rules); };
    ($($name:ident)*) => { $(pass_on!(@$name);)* };
}
