//! Which cases find which fault.

use super::Fault;

/// Each fault with cases that must fail for it: those that name the promise it breaks. Others may
/// fail too.
pub(crate) const EXPECTED: &[(Fault, &[&str])] = &[
    // Changes that aren't whole.
    (
        Fault::BatchesStopAtARefusal,
        &["atomic_a_batch_goes_on_around_a_refused_change", "durable_refused_changes_stay_refused"],
    ),
    (Fault::ChangesAreCommittedByTheOperation, &["atomic_a_reader_never_sees_half_a_change"]),
    (Fault::EmptyBatchesLeaveAnEvent, &["atomic_an_empty_batch_does_nothing"]),
    (
        Fault::EverythingInABatchIsRefusedForOneReason,
        &["atomic_a_batch_may_be_refused_change_by_change"],
    ),
    (
        Fault::OperationsOfAChangeAreCutAfterThree,
        &["atomic_a_change_takes_effect_whole", "order_events_of_a_change_are_consecutive"],
    ),
    (
        Fault::RefusedChangesLeaveWhatCameBefore,
        &[
            "atomic_a_refused_change_leaves_no_record",
            "atomic_a_refused_change_leaves_no_event",
            "rule_a_creation_takes_other_writes_along",
            "atomic_a_refused_change_takes_no_name",
            "atomic_a_refused_change_uses_no_numeric_id",
            "atomic_a_refused_change_removes_nothing",
            "atomic_a_refused_change_leaves_the_metadata",
            "durable_refused_changes_stay_refused",
        ],
    ),
    // Sweeps.
    (Fault::EndsOfSweepsAreLost, &["sweep_pieces_write_what_was_bound"]),
    (
        Fault::PiecesWriteNothing,
        &["sweep_pieces_write_what_was_bound", "sweep_the_last_piece_removes_a_purged_owner"],
    ),
    (Fault::RefusedPiecesAreAcknowledged, &["sweep_a_piece_is_written_once"]),
    (
        Fault::SweepsAreBoundByTheCount,
        &[
            "sweep_a_revocation_binds_the_owner_and_leaves_its_keys",
            "sweep_an_end_with_keys_left_is_refused",
            "sweep_damaged_keys_count_no_more_once_they_go",
        ],
    ),
    (
        Fault::SweepsAreLost,
        &[
            "sweep_a_revocation_binds_the_owner_and_leaves_its_keys",
            "sweep_what_is_bound_counts_in_the_next_commit",
            "sweep_a_purged_owner_may_come_again",
            "sweep_the_greatest_key_is_known",
            "sweep_a_key_may_have_created_keys_of_a_purged_owner_and_others",
        ],
    ),
    (Fault::SweepsHaveNoLimit, &["sweep_no_more_than_can_be_kept"]),
    (Fault::SweepsLoseTheirReason, &["sweep_of_any_size_is_found_again"]),
    (Fault::SweptOwnersAreNotListed, &["sweep_owners_with_sweeps_are_listed"]),
    // Rules that aren't checked, or too strictly.
    (
        Fault::CreationsOverwrite,
        &[
            "rule_a_created_key_finds_nothing_in_its_place",
            "rule_a_created_owner_finds_nothing_in_its_place",
            "order_of_racing_creations_one_wins",
        ],
    ),
    (
        Fault::NumericIdsAreForgotten,
        &["rule_a_numeric_id_is_taken_for_ever", "durable_numeric_ids_stay_used"],
    ),
    (
        Fault::NumericIdsMayRepeat,
        &["rule_a_numeric_id_is_taken_once", "rule_a_numeric_id_is_taken_once_within_a_change"],
    ),
    (Fault::NumericIdsStartAgainAfterTheLast, &["rule_numeric_ids_are_exhausted_after_the_last"]),
    (
        Fault::RetiredPeppersEndTokensUnasked,
        &["rule_a_retired_pepper_ends_the_live_tokens_under_it"],
    ),
    (Fault::MetadataPreconditionsAreIgnored, &["rule_a_precondition_on_the_metadata_holds"]),
    (
        Fault::KeyPreconditionsAreIgnored,
        &[
            "rule_a_precondition_on_a_key_holds",
            "rule_a_precondition_on_a_missing_record_never_holds",
        ],
    ),
    (
        Fault::KeysGoWithTheirOwner,
        &["rule_an_owner_with_keys_stays", "rule_an_owner_with_revoked_keys_stays"],
    ),
    (
        Fault::KeysNeedNoOwner,
        &["rule_a_created_key_has_an_owner", "rule_a_key_can_not_come_while_its_owner_goes"],
    ),
    (
        Fault::KeysLapseBeforeTheirExpiry,
        &["rule_no_key_lapses_that_has_not_expired", "rule_no_key_lapses_without_leave"],
    ),
    (Fault::KeysLapseWithoutNeed, &["rule_no_key_lapses_without_need"]),
    (
        Fault::KeysNeverLapse,
        &[
            "durable_expired_keys_lapse_after_an_opening",
            "rule_a_lapsed_key_that_counts_again_needs_place_and_name",
            "rule_no_key_lapses_in_a_refused_change",
            "rule_the_last_standard_key_does_not_lapse",
            "rule_an_expired_key_gives_up_its_place",
            "rule_an_expired_key_gives_up_its_name",
            "rule_the_longest_expired_keys_lapse_first",
        ],
    ),
    (Fault::KeysStayWithTheirFirstOwner, &["rule_a_replaced_key_may_have_another_owner"]),
    (Fault::LastPreconditionsAreIgnored, &["rule_every_precondition_counts"]),
    (
        Fault::LastStandardKeysAreGuardedByTheOperation,
        &[
            "rule_the_last_standard_key_may_be_replaced_in_one_change",
            "rule_an_owner_goes_together_with_its_keys",
        ],
    ),
    (
        Fault::LastStandardKeysGo,
        &[
            "rule_the_last_standard_key_is_not_revoked",
            "rule_the_last_standard_key_is_not_removed",
            "rule_the_last_standard_key_is_not_made_a_trial",
            "rule_an_owner_starts_with_a_standard_key",
            "rule_the_last_standard_key_is_guarded_through_a_batch",
            "order_of_racing_revocations_one_key_stays",
            "durable_numbers_of_keys_are_found_again",
        ],
    ),
    (
        Fault::LastStandardKeysNeverGo,
        &["rule_the_last_standard_key_may_go_unless_the_store_says_otherwise"],
    ),
    (
        Fault::LiveKeysPreconditionsAreIgnored,
        &["rule_a_precondition_on_the_number_of_live_keys_holds"],
    ),
    (
        Fault::CreatedKeysPreconditionsAreIgnored,
        &["rule_a_precondition_on_the_keys_that_a_key_created_holds"],
    ),
    (Fault::LoweredNumbersForbidChanges, &["rule_keys_beyond_a_lowered_number_stay"]),
    (Fault::NamesAreCheckedByTheOperation, &["rule_names_may_change_places_in_one_change"]),
    (Fault::NamesAreComparedWithoutCase, &["rule_a_name_is_the_same_byte_for_byte"]),
    (Fault::NamesAreOneForAllOwners, &["rule_a_name_may_be_another_owners"]),
    (
        Fault::NamesAreTakenForEver,
        &[
            "rule_a_name_is_free_after_revocation",
            "rule_a_name_is_free_after_removal",
            "rule_a_name_is_free_after_a_renaming",
        ],
    ),
    (Fault::NamesAreTakenThatAreOnesOwn, &["rule_a_name_may_stay_through_a_change"]),
    (
        Fault::NamesMayRepeat,
        &[
            "rule_a_name_is_taken_once",
            "rule_names_within_one_change_are_unique",
            "rule_names_within_one_batch_are_unique",
            "rule_new_rules_hold_for_the_next_change",
            "order_of_racing_names_one_wins",
            "durable_names_stay_taken",
        ],
    ),
    (Fault::NamesNeverRepeat, &["rule_names_may_repeat_unless_the_store_says_otherwise"]),
    (
        Fault::NextNumericIdFillsGaps,
        &[
            "rule_the_next_numeric_id_follows_the_greatest",
            "rule_the_next_numeric_id_fills_no_gap",
            "rule_the_next_numeric_id_follows_one_given_in_its_change",
        ],
    ),
    (
        Fault::NextNumericIdFollowsThoseThatAreLeft,
        &["rule_the_next_numeric_id_follows_a_removed_one"],
    ),
    (Fault::NextNumericIdsAreAnsweredBackwards, &["rule_the_next_numeric_ids_of_one_change_go_up"]),
    (
        Fault::NextNumericIdsRepeat,
        &[
            "rule_the_next_numeric_ids_of_one_batch_go_up",
            "order_concurrent_wishes_get_different_numeric_ids",
        ],
    ),
    (
        Fault::NumbersOfKeysAreIgnored,
        &[
            "rule_an_owner_has_no_more_keys_than_it_may",
            "order_of_racing_keys_only_so_many_come",
            "durable_numbers_of_keys_are_found_again",
        ],
    ),
    (
        Fault::NumbersOfKeysAreThoseBeforeTheChange,
        &["rule_the_number_of_keys_is_that_after_the_change"],
    ),
    (
        Fault::OwnerPreconditionsAreIgnored,
        &[
            "rule_a_precondition_on_an_owner_holds",
            "rule_a_precondition_on_a_missing_record_never_holds",
        ],
    ),
    (Fault::IncarnationsAreIgnored, &["rule_an_owner_that_was_replaced_is_another"]),
    (Fault::OwnersNeverComeAgain, &["rule_a_removed_owner_may_come_again"]),
    (
        Fault::PreconditionsAreAboutTheStateBeforeTheBatch,
        &["rule_a_precondition_is_about_the_state_before_the_change"],
    ),
    (Fault::ReplacementsCreate, &["rule_a_replaced_key_exists"]),
    (Fault::RevokedKeysTakeRoom, &["rule_revoked_keys_leave_room"]),
    (Fault::RulesChangeAlone, &["rule_new_rules_judge_what_their_change_writes"]),
    (
        Fault::RulesDoNotAskTheData,
        &[
            "rule_unique_names_need_unique_names",
            "rule_keep_standard_key_needs_standard_keys",
            "rule_no_recoverable_tokens_needs_no_seals",
            "rule_no_prefix_goes_that_a_token_has",
        ],
    ),
    (
        Fault::VersionsAreIgnored,
        &[
            "rule_a_replaced_key_has_the_version_before",
            "rule_a_removed_key_has_its_version",
            "rule_a_replaced_owner_has_the_version_before",
            "rule_a_removed_owner_has_its_version",
            "rule_a_replaced_metadata_has_the_version_before",
            "order_of_racing_replacements_one_wins",
        ],
    ),
    // Records that aren't kept as they are.
    (Fault::AccessIsCut, &["size_the_largest_key_reads_back", "size_the_largest_owner_reads_back"]),
    (Fault::BatchesAreSmall, &["size_a_batch_may_hold_many_changes"]),
    (Fault::ChangesAreSmall, &["size_a_change_may_hold_many_records"]),
    (Fault::FixedDefaultsAreLost, &["size_the_largest_owner_reads_back"]),
    (Fault::ProtectedSettingsAreLost, &["size_the_largest_key_reads_back"]),
    (Fault::LifetimesAreLost, &["size_the_largest_owner_reads_back"]),
    (Fault::DefaultsAreLost, &["rule_a_replaced_owner_reads_back", "size_odd_settings_read_back"]),
    (
        Fault::PreviousTokensAreCut,
        &["size_the_largest_key_reads_back", "query_a_scan_shows_what_the_index_needs_of_keys"],
    ),
    (
        Fault::MetadatasAreCut,
        &["size_the_largest_metadata_reads_back", "rule_a_replaced_metadata_reads_back"],
    ),
    (
        Fault::SpacesInNamesAreJoined,
        &["rule_a_name_is_the_same_byte_for_byte", "size_odd_texts_read_back"],
    ),
    (Fault::NumbersInSettingsAreFloats, &["size_odd_settings_read_back"]),
    (Fault::NumbersOfKeysHaveSixteenBits, &["size_the_ends_of_numbers_read_back"]),
    (
        Fault::ReasonsAreLost,
        &["size_the_largest_key_reads_back", "size_the_largest_owner_reads_back"],
    ),
    (Fault::ReplacedMetadatasLoseTheirMark, &["rule_a_replaced_metadata_reads_back"]),
    (
        Fault::LimitsAreLost,
        &[
            "size_every_limit_reads_back",
            "size_the_largest_key_reads_back",
            "size_the_largest_owner_reads_back",
            "rule_replaced_records_change_their_limits",
            "query_a_scan_shows_limits",
        ],
    ),
    (
        Fault::ManyNetworksAreCut,
        &["size_the_largest_key_reads_back", "size_the_largest_owner_reads_back"],
    ),
    (
        Fault::ReplacedRecordsKeepTheirLimits,
        &["rule_replaced_records_change_their_limits", "query_a_scan_shows_limits"],
    ),
    (Fault::ReplacedKeysKeepTheirSeal, &["rule_a_replaced_key_reads_back"]),
    (Fault::ReplacedOwnersKeepTheirSwitch, &["rule_a_replaced_owner_reads_back"]),
    (
        Fault::SealsAreLost,
        &[
            "rule_a_created_key_reads_back",
            "rule_no_recoverable_tokens_needs_no_seals",
            "size_the_largest_key_reads_back",
        ],
    ),
    (
        Fault::TagsAreLost,
        &[
            "rule_a_replaced_key_reads_back",
            "size_the_largest_key_reads_back",
            "size_the_largest_owner_reads_back",
            "query_keys_are_those_with_tags",
            "query_owners_are_those_with_tags",
        ],
    ),
    (Fault::ShortNamesAreLost, &["size_the_smallest_records_read_back"]),
    (
        Fault::QuarantinesAreLost,
        &[
            "damage_a_key_under_quarantine_reads_as_damaged",
            "damage_an_entry_is_found_after_opening",
            "damage_beside_a_change_of_the_metadata_is_passed_over",
            "damage_an_entry_replaces_the_one_before_it",
        ],
    ),
    (Fault::PurgesOfDamagedKeysAreLost, &["damage_a_purge_removes_key_and_entry"]),
    (
        Fault::WholeRecordsAreFaulty,
        &[
            "damage_a_repair_of_whole_records_changes_nothing",
            "damage_whole_records_have_no_faults",
        ],
    ),
    (Fault::RepairsWriteAnEvent, &["damage_a_repair_of_whole_records_changes_nothing"]),
    (
        Fault::RequestsAreForgotten,
        &[
            "request_a_change_takes_effect_once",
            "request_records_read_back",
            "request_records_are_found_after_opening",
            "request_replacing_needs_one_that_is_there",
        ],
    ),
    (Fault::RequestsAreOverTooEarly, &["request_what_is_over_counts_as_gone"]),
    (
        Fault::RequestsAreNeverOver,
        &["request_what_is_over_counts_as_gone", "request_what_is_over_goes_in_pieces"],
    ),
    (
        Fault::AlertsAreToldAgain,
        &[
            "rule_a_alert_is_told_once",
            "rule_what_was_told_reads_back",
            "rule_what_was_told_stays_beside_usage",
        ],
    ),
    // Order.
    (Fault::BatchesMix, &["order_concurrent_batches_do_not_mix"]),
    (Fault::BatchesSeeTheStateBeforeThem, &["order_later_changes_of_a_batch_see_earlier_ones"]),
    (
        Fault::EventsAreNumberedFromZero,
        &[
            "order_events_are_numbered_from_one",
            "order_concurrent_commits_are_numbered_without_gaps",
        ],
    ),
    (Fault::EventsOfAChangeAreBackwards, &["order_events_stand_as_their_operations_do"]),
    (
        Fault::EventsOfAChangeAreLost,
        &["order_events_of_a_change_are_consecutive", "order_events_stand_as_their_operations_do"],
    ),
    (Fault::EventsThatStandAloneAreLost, &["order_an_event_may_stand_alone"]),
    (Fault::ReadsAreStale, &["order_a_commit_is_seen_by_every_read_after_it"]),
    (
        Fault::RefusedChangesTakeANumber,
        &["order_refused_changes_take_no_number", "atomic_a_refused_change_leaves_no_event"],
    ),
    (Fault::SecondOpenerIsLetIn, &["order_other_openers_are_as_the_backend_says"]),
    (Fault::WaitingEndsAtOnce, &["order_waiting_ends_in_time_without_an_event"]),
    (
        Fault::WaitingIsWokenByNothing,
        &[
            "order_waiting_ends_at_once_when_there_is_more",
            "order_waiting_ends_with_the_next_event",
            "order_waiting_ends_for_all_who_wait",
        ],
    ),
    // Durability.
    (Fault::ForgetsPruningAtOpen, &["durable_pruning_is_found_again"]),
    (Fault::ForgetsRemovedKeysAtOpen, &["durable_numeric_ids_stay_used"]),
    (Fault::KeepsNothing, DURABLE),
    (Fault::KeepsThoughItSaysNot, DURABLE),
    (
        Fault::LosesTheLastChangeAtOpen,
        &[
            "durable_records_are_found_again",
            "durable_changes_and_removals_are_found_again",
            "durable_event_numbers_go_on",
            "durable_events_are_found_again",
            "durable_a_place_may_be_opened_again_and_again",
        ],
    ),
    (Fault::WaitingKnowsNothingAtOpen, &["durable_waiting_knows_of_events_before_the_open"]),
    // Errors.
    (Fault::ClosingAgainFails, &["error_closing_again_does_nothing"]),
    (Fault::ClosingDoesNothing, &["error_a_closed_backend_says_so_to_every_call"]),
    (Fault::ClosingKeepsThePlace, &["error_closing_lets_go_of_the_place"]),
    (Fault::CommitsNeedNoMetadata, &["rule_nothing_is_committed_before_the_creation"]),
    (Fault::ErrorsNameAnother, &["error_names_the_backend"]),
    (
        Fault::FirstMetadataIsOverwritten,
        &["rule_a_store_is_created_once", "order_of_racing_stores_one_is_created"],
    ),
    (Fault::RecoveringWritesAnEvent, &["error_recovering_a_healthy_backend_is_harmless"]),
    // Scans and look-ups.
    (Fault::NumericIdsAreReadByTheirLowBits, &["rule_a_given_numeric_id_finds_its_key"]),
    (Fault::OwnersAreFoundWithoutCase, &["query_what_is_not_there_is_not_found"]),
    (Fault::RemovedKeysAreFoundByNumericId, &["rule_a_removed_key_is_found_no_more"]),
    (Fault::RevokedKeysHaveNoNumericId, &["rule_a_numeric_id_stays_with_its_key"]),
    (
        Fault::ScansOfAnOwnerGoByItsFirstLetters,
        &["query_a_scan_of_an_owner_shows_it_alone", "query_a_scan_of_nobody_shows_nothing"],
    ),
    (Fault::ScansOmitBlocks, &["query_a_scan_shows_what_the_index_needs_of_keys"]),
    (Fault::ScansOmitMaxAccesss, &["query_a_scan_shows_what_the_index_needs_of_owners"]),
    (
        Fault::ScansOmitLimits,
        &["query_a_scan_shows_limits", "query_a_scan_shows_what_the_index_needs_of_keys"],
    ),
    (
        Fault::ScansOmitLimitsOfOwners,
        &["query_a_scan_shows_limits", "query_a_scan_shows_what_the_index_needs_of_owners"],
    ),
    (Fault::ScansShowAKeyTwice, &["query_a_scan_shows_every_record_once"]),
    (Fault::ScansShowKeysFirst, &["query_a_scan_shows_owners_before_keys"]),
    (Fault::ScansTellNoEvent, &["query_a_scan_tells_the_last_event"]),
    (Fault::ScansTellTheEventAfterThem, &["query_a_scan_tells_no_event_that_came_while_it_ran"]),
    // Pages of keys.
    (Fault::BoundsOfKeysAreIncluded, &["query_keys_are_those_before_and_after_bounds"]),
    (Fault::CountsAreOfAll, &["query_keys_are_counted"]),
    (
        Fault::EmptyPagesGoOn,
        &[
            "query_pages_of_no_keys_are_empty",
            "query_pages_of_no_owners_are_empty",
            "query_pages_of_no_events_are_empty",
        ],
    ),
    (Fault::ExpiryIsExclusive, &["query_keys_expire_at_their_expiry"]),
    (
        Fault::KeysAreOfAnyKind,
        &["query_keys_are_those_of_a_kind", "query_keys_match_the_whole_filter"],
    ),
    (Fault::KeysAreOfAnyCreator, &["query_keys_are_those_that_a_key_created"]),
    (
        Fault::KeysAreOfAnyOwner,
        &["query_keys_are_those_of_an_owner", "query_keys_match_the_whole_filter"],
    ),
    (
        Fault::KeysAreInAnyState,
        &["query_keys_are_those_in_certain_states", "query_keys_match_the_whole_filter"],
    ),
    (Fault::KeysExpireAtAnyTime, &["query_keys_are_those_that_expire_before_a_moment"]),
    (Fault::KeysGrantAnyPermission, &["query_keys_are_those_that_grant_a_permission"]),
    (Fault::KeysHaveAnyName, &["query_keys_are_those_whose_names_begin_so"]),
    (Fault::KeysHaveAnyPrefix, &["query_keys_are_those_with_a_prefix"]),
    (Fault::KeysHaveAnyTags, &["query_keys_are_those_with_tags"]),
    (Fault::KeysAreOldestFirst, &["query_keys_come_newest_first"]),
    (Fault::KeyIdsAreSigned, &["size_the_ends_of_numbers_read_back"]),
    (
        Fault::PagesEndWithTheFirst,
        &[
            "query_pages_of_keys_are_complete",
            "query_pages_of_owners_are_complete",
            "query_pages_of_events_are_complete",
            "query_pages_of_the_newest_events_are_complete",
            "query_pages_of_the_newest_events_reach_far_back",
        ],
    ),
    (Fault::PagesEndWithAMissingKey, &["query_pages_of_keys_go_on_while_keys_come_and_go"]),
    (
        Fault::PagesExamineTooMuch,
        &[
            "query_pages_of_keys_examine_no_more_than_told",
            "query_pages_of_owners_examine_no_more_than_told",
            "query_pages_of_events_examine_no_more_than_told",
            "query_pages_of_the_newest_events_keep_to_their_bounds",
        ],
    ),
    (
        Fault::PagesExceedTheirLimit,
        &[
            "query_pages_of_keys_keep_to_their_limit",
            "query_pages_of_owners_keep_to_their_limit",
            "query_pages_of_events_keep_to_their_limit",
            "query_pages_of_the_newest_events_keep_to_their_bounds",
        ],
    ),
    (Fault::PagesOmitSeals, &["query_pages_of_keys_show_every_field"]),
    // Pages of owners.
    (Fault::BoundsOfOwnersAreIncluded, &["query_owners_are_those_after_a_bound"]),
    (Fault::OwnersAreInAnyState, &["query_owners_are_suspended_or_not"]),
    (Fault::OwnersHaveAnyTags, &["query_owners_are_those_with_tags"]),
    (Fault::OwnersAreOrderedWithoutCase, &["query_owners_come_in_ascending_order"]),
    (Fault::PagesOmitMaxAccesss, &["query_pages_of_owners_show_every_field"]),
    // Events.
    (Fault::ActorsAreComparedWithoutCase, &["query_events_are_those_by_an_actor"]),
    (Fault::EventsAreByAnyKey, &["query_events_are_those_by_an_acting_key"]),
    (
        Fault::EventsAreOfAnyKey,
        &["query_events_are_those_of_a_key", "query_events_match_the_whole_filter"],
    ),
    (Fault::EventsAreOfAnyIncarnation, &["query_events_are_those_of_an_incarnation"]),
    (Fault::EventsLoseTheirIncarnation, &["rule_events_carry_the_incarnation_of_their_owner"]),
    (Fault::EventsAreOfAnyKind, &["query_events_are_those_of_a_kind"]),
    (Fault::EventsAreOfAnyOwner, &["query_events_are_those_of_an_owner"]),
    (Fault::EventsAreOfAnyTime, &["query_events_are_those_of_a_time"]),
    (
        Fault::EventsAreNeverNewestFirst,
        &[
            "query_events_before_a_number_come_newest_first",
            "query_pages_of_the_newest_events_are_complete",
        ],
    ),
    (
        Fault::EventsFromANumberOn,
        &[
            "query_events_are_those_after_a_number",
            "query_events_before_a_number_come_newest_first",
        ],
    ),
    (Fault::EventsUpToANumber, &["query_events_before_a_number_come_newest_first"]),
    (Fault::EventsLoseTheirCorrelation, &["query_events_show_every_field"]),
    (Fault::EventsOfTheStoreAreNotRead, &["query_events_are_of_every_kind"]),
    (Fault::PrunedEventsAreFoundByFilters, &["query_pruned_events_are_missing_from_filters_too"]),
    (Fault::PruningGoesByTimeAlone, &["query_pruning_stops_at_the_first_that_is_younger"]),
    (Fault::PruningHasNoLimit, &["query_pruning_removes_no_more_than_told"]),
    (Fault::PruningIsNotSaid, &["query_pruning_says_how_far_it_went"]),
    (Fault::PruningRemovesNothing, &["query_pruning_removes_the_oldest"]),
    (Fault::PruningRemovesTheNewest, &["query_pruning_keeps_the_newest"]),
    // Usage.
    (
        Fault::AddressesAreKept,
        &["usage_addresses_are_forgotten", "usage_of_a_later_time_counts_as_noted_now"],
    ),
    (Fault::LaterUsageStaysLater, &["usage_of_a_later_time_counts_as_noted_now"]),
    (
        Fault::LeasesAreNotCounted,
        &[
            "usage_leases_are_taken_from_the_quota",
            "usage_of_racing_leases_none_exceeds_the_quota",
            "usage_steps_of_a_batch_see_earlier_ones",
        ],
    ),
    (Fault::LeasesAreNotGivenBack, &["usage_leases_are_given_back"]),
    (Fault::LeasesNeedNoQuota, &["usage_nothing_is_leased_without_a_quota"]),
    (
        Fault::LeasesOfOldQuotasAreGivenBack,
        &["usage_another_quota_begins_a_count", "usage_a_grant_gives_uses"],
    ),
    (Fault::LeasesTakeWhatNobodyCanSpend, &["usage_leases_of_which_nobody_is_served_are_none"]),
    (Fault::ChargesStopAtTheQuota, &["usage_charges_may_exceed_the_quota"]),
    (Fault::GrantsGiveNothing, &["usage_a_grant_gives_uses"]),
    (
        Fault::QuotasAreForgottenByChanges,
        &["usage_a_quota_that_is_set_again_keeps_its_count", "usage_a_grant_gives_uses"],
    ),
    (Fault::RefillsAddNothing, &["usage_a_grant_gives_uses"]),
    (Fault::LeasesEndWithTheirPeriod, &["usage_leases_outlast_a_refill_as_far_as_it_left_room"]),
    (Fault::QuotasAreNeverRefilled, &["usage_quotas_are_refilled"]),
    (Fault::UsageBatchesAreSmall, &["usage_a_batch_may_hold_many_steps"]),
    (Fault::UsageCountsHave32Bits, &["usage_counts_stop_at_the_greatest"]),
    (Fault::UsageIsAnsweredByItsOrder, &["usage_is_answered_in_the_order_of_the_question"]),
    (
        Fault::UsageIsForgottenAtOpen,
        &[
            "usage_is_found_again",
            "usage_is_found_again_without_a_close",
            "usage_quotas_are_found_again",
        ],
    ),
    (Fault::UsageIsForgottenByChanges, &["usage_stays_through_changes"]),
    (Fault::UsageIsKeptOfWhatIsNotThere, &["usage_of_what_is_not_there_is_not_kept"]),
    (Fault::UsageIsOfOneThread, &["usage_of_many_threads_is_added_up"]),
    (Fault::UsageIsTakenInBackwards, &["usage_steps_of_a_batch_see_earlier_ones"]),
    (Fault::UsageIsTakenInByTheStep, &["usage_a_reader_never_sees_half_a_batch"]),
    (Fault::UsageIsTheLast, &["usage_is_added_up"]),
    (Fault::UsageLosesRefusals, &["usage_of_every_field_reads_back", "usage_is_added_up"]),
    (
        Fault::UsageOutlivesItsKey,
        &[
            "rule_what_was_told_goes_with_its_key",
            "usage_goes_with_its_key",
            "usage_a_quota_goes_with_its_key_or_owner",
        ],
    ),
    (Fault::UsageWritesAnEvent, &["usage_leaves_records_and_events_alone"]),
];

/// All of the family.
const DURABLE: &[&str] = &[
    "durable_records_are_found_again",
    "durable_records_are_found_again_without_a_close",
    "durable_changes_and_removals_are_found_again",
    "durable_refused_changes_stay_refused",
    "durable_the_metadata_is_found_again",
    "durable_the_metadata_is_made_durable_alone",
    "durable_events_are_found_again",
    "durable_event_numbers_go_on",
    "durable_pruning_is_found_again",
    "durable_numeric_ids_stay_used",
    "durable_names_stay_taken",
    "durable_numbers_of_keys_are_found_again",
    "durable_listings_are_found_again",
    "durable_waiting_knows_of_events_before_the_open",
    "durable_a_place_may_be_opened_again_and_again",
];
