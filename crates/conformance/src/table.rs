//! Which rules there are, and for which stores.

/// Makes a test of every rule of the groups for one store, in a module of the store's name.
///
/// The groups are those of [`rules`](crate::rules). The world is an expression, evaluated in each test.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $world:expr, [$($group:ident),+ $(,)?]) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $($crate::conformance!(@group $group, $world);)+
        }
    };

    (@group plain, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_store, keys [
            an_empty_key_and_one_of_1025_bytes_are_refused_and_change_nothing,
            a_key_is_any_bytes_and_no_two_are_the_same,
            a_value_is_any_bytes_and_an_empty_one_is_a_value,
            a_value_of_1_mib_is_taken_and_a_larger_one_refused_naming_both_sizes,
            a_wrong_idempotency_key_is_refused_and_changes_nothing,
        ]);
        $crate::conformance!(@tests $world, run_on_world, keys [
            the_shortest_and_the_longest_key_are_keys,
            the_largest_value_is_a_setting,
        ]);
        $crate::conformance!(@tests $world, run_on_store, versions [
            every_write_adds_exactly_1_to_the_revision_of_the_whole_store,
            a_delete_of_nothing_takes_no_revision,
            a_refused_write_takes_no_revision,
            a_read_takes_no_revision,
            writes_at_the_same_time_have_revisions_without_a_gap,
        ]);
        $crate::conformance!(@tests $world, run_on_store, conditions [
            if_match_version_writes_at_the_keys_version_and_no_other,
            if_match_version_on_a_missing_key_is_a_mismatch_without_an_actual_version,
            a_version_from_before_a_delete_does_not_match_what_was_created_since,
            a_version_of_another_term_never_matches,
            the_version_0_0_is_refused,
            if_not_exists_writes_only_if_the_key_is_missing,
            a_key_with_an_empty_value_is_there,
            of_conditional_writes_at_the_same_time_one_wins,
        ]);
        $crate::conformance!(@tests $world, run_on_store, deletes [
            a_delete_answers_whether_the_key_was_there,
            a_delete_takes_one_key_and_not_those_beside_it,
            a_delete_with_if_match_happens_at_the_keys_version_and_no_other,
            a_delete_with_if_match_of_a_missing_key_is_a_mismatch,
        ]);
        $crate::conformance!(@tests $world, run_on_store, reading [
            every_consistency_sees_what_was_acknowledged,
            what_is_answered_at_once_is_what_is_answered_otherwise,
        ]);
        $crate::conformance!(@tests $world, run_on_store, expiry [
            a_put_without_ttl_clears_an_earlier_one,
        ]);
        $crate::conformance!(@tests $world, run_on_store, idempotency [
            a_repeat_answers_the_recorded_version_and_changes_nothing,
            a_repeated_delete_answers_what_the_first_answered,
            an_idempotency_key_with_another_write_is_refused,
            a_refused_write_records_nothing,
            a_repeat_of_a_conditional_write_answers_though_its_condition_holds_no_more,
            repeats_at_the_same_time_are_one_write,
        ]);
        $crate::conformance!(@tests $world, run_on_store, order [
            writes_to_one_key_take_effect_in_the_order_of_their_first_poll,
            a_read_sees_the_writes_begun_before_it_and_none_begun_after,
            a_call_dropped_before_it_is_polled_does_nothing,
            a_dropped_call_happens_whole_or_not_at_all_and_holds_up_nobody,
            thousands_of_calls_dropped_at_once_hold_up_nobody,
            calls_on_many_keys_at_once_all_get_their_own_answer,
        ]);
        $crate::conformance!(@tests $world, run_on_world, closing [
            a_closed_store_says_so_and_closing_twice_is_closing_once,
            calls_under_way_end_when_the_store_closes,
        ]);
    };

    (@group full, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_world, versions [an_empty_store_is_at_revision_1]);
        $crate::conformance!(@tests $world, run_on_store, entries [
            an_entry_has_its_versions_and_the_number_of_puts_since_its_creation,
            an_entry_without_a_lease_and_a_ttl_has_neither,
            get_get_many_and_scan_tell_the_same,
            a_put_with_prev_entry_answers_the_entry_before_it,
            all_versions_of_a_store_are_of_one_term,
        ]);
        $crate::conformance!(@tests $world, run_on_store, many [
            get_many_answers_in_the_order_of_its_keys,
            one_wrong_key_refuses_the_whole_get_many,
            get_many_reads_from_one_snapshot,
        ]);
        $crate::conformance!(@tests $world, run_on_store, scans [
            keys_sort_as_unsigned_bytes,
            a_prefix_takes_the_keys_that_begin_with_it_also_one_of_0xff_bytes,
            a_range_goes_from_its_start_up_to_and_without_its_end,
            a_scan_of_nothing_is_an_empty_page,
            a_limit_is_the_number_of_entries,
            a_limit_holds_across_pages,
            a_scan_of_keys_only_leaves_out_the_values_and_nothing_else,
            every_page_of_a_scan_is_of_one_snapshot,
            a_scan_under_concurrent_writes_sees_one_version,
            large_values_come_in_several_pages,
        ]);
        $crate::conformance!(@tests $world, run_on_store, ranges [
            a_range_delete_answers_how_many_and_takes_one_revision,
            a_range_delete_of_nothing_takes_no_revision,
            a_range_delete_takes_its_start_and_leaves_its_end,
            a_wrong_range_is_refused_and_changes_nothing,
        ]);
        $crate::conformance!(@tests $world, run_on_store, history [
            a_read_at_an_old_version_answers_what_was_there_then,
            an_old_entry_has_the_fields_that_it_had,
            a_version_in_the_future_is_refused,
        ]);
        $crate::conformance!(@tests $world, run_on_store, order [
            a_transaction_takes_its_place_among_the_calls_on_its_keys,
            a_read_at_once_does_not_overtake_a_transaction,
        ]);
        $crate::conformance!(@tests $world, run_on_store, txn [
            every_target_compares_with_every_relation,
            values_compare_as_unsigned_bytes,
            a_missing_key_is_0_to_compares,
            a_value_compare_of_a_missing_key_is_false_whatever_the_operator,
            exists_compares_with_equal_and_not_equal_and_has_no_order,
            all_compares_must_hold,
            one_branch_is_done_and_nothing_of_the_other,
            a_branch_may_be_empty,
            all_writes_of_a_transaction_carry_its_one_revision,
            what_a_transaction_deleted_is_created_anew_by_the_next,
            a_transaction_that_changes_nothing_takes_no_revision,
            a_get_inside_sees_the_writes_before_it_and_none_after,
            a_scan_inside_sees_the_writes_before_it_and_none_after,
            a_scan_inside_answers_all_of_its_range_or_the_transaction_is_refused,
            a_range_delete_inside_counts_what_is_there,
            a_steps_precondition_that_fails_fails_the_transaction_and_changes_nothing,
            a_put_inside_answers_the_entry_before_it,
            two_writes_to_one_key_in_one_branch_are_refused,
            at_most_128_compares_and_ops,
            what_no_call_takes_no_transaction_takes,
            sixty_four_callers_that_count_by_transactions_count_exactly,
            transfers_neither_make_nor_lose_money,
            a_dropped_transaction_happens_whole_or_not_at_all,
        ]);
        $crate::conformance!(@tests $world, run_on_store, leases [
            a_grant_answers_a_lease_of_its_own,
            an_entry_tells_its_lease,
            the_end_of_a_lease_without_keys_takes_no_revision,
            a_put_without_the_lease_detaches_the_key,
            a_put_with_another_lease_moves_the_key,
            what_is_deleted_belongs_to_its_lease_no_more,
            a_ttl_with_a_lease_is_refused,
            a_lease_that_is_not_there_is_not_found,
            a_keep_alive_answers_for_each_lease_in_their_order,
            a_transaction_compares_and_attaches_leases,
            a_lease_with_thousands_of_keys_ends_in_one_revision,
        ]);
        $crate::conformance!(@tests $world, run_on_store, watches [
            a_watch_starts_after_the_newest_version,
            from_version_is_inclusive_and_replays_history,
            a_from_version_in_the_future_is_refused,
            a_watch_of_a_wrong_range_is_refused,
            an_event_tells_the_entry_and_the_one_before_it,
            a_watch_may_want_puts_or_deletes_only,
            a_watch_tells_what_changes_in_its_range_and_nothing_else,
            the_events_of_a_transaction_come_in_one_batch_in_the_order_of_its_ops,
            what_a_step_remembers_hides_no_event_of_its_transaction,
            a_revision_of_thousands_of_changes_comes_in_one_batch,
            every_revision_comes_once_and_in_order_while_many_write,
            a_watch_from_below_the_floor_fails_with_the_floor,
            a_watch_outlives_the_compaction_of_what_it_did_not_want,
            a_slow_reader_gets_everything_and_holds_back_nobody,
            watches_are_independent,
            a_dropped_watch_leaves_nothing_behind,
            what_is_told_is_what_is_read,
            many_watches_at_once_are_each_told_everything,
        ]);
        $crate::conformance!(@tests $world, run_on_world, watches [
            a_watch_ends_when_the_store_closes,
        ]);
        $crate::conformance!(@tests $world, run_on_store, compaction [
            below_the_floor_a_read_fails_with_it_and_above_it_answers,
            the_status_tells_the_floor,
            compaction_to_a_version_in_the_future_is_refused,
            compaction_below_the_floor_is_compacted_and_to_the_floor_is_not,
            what_is_newest_stays_whenever_it_was_written,
        ]);
        $crate::conformance!(@tests $world, run_on_store, status [
            the_status_tells_the_newest_version,
            the_status_names_the_features,
        ]);
        $crate::conformance!(@tests $world, run_on_world, status [
            the_status_says_when_a_write_is_acknowledged,
            the_status_tells_the_limits,
        ]);
        $crate::conformance!(@tests $world, run_on_world, closing [every_call_of_a_closed_store_says_so]);
    };

    // What an engine of ours has: times in milliseconds.
    (@group millis, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_store, expiry [
            a_get_sees_an_entry_up_to_the_moment_it_expires,
            an_expiry_takes_a_revision_of_its_own_within_500_ms,
            a_put_with_ttl_replaces_an_earlier_one,
            what_has_expired_is_missing_for_writes,
            the_shortest_and_the_longest_ttl_are_taken,
        ]);
        $crate::conformance!(@tests $world, run_on_world, idempotency [
            after_its_window_a_record_is_forgotten,
        ]);
    };

    // What an etcd has since 3.4.25 and 3.5.8.
    (@group progress, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_store, watches [
            a_watch_that_asked_for_progress_is_told_how_far_it_is,
        ]);
    };

    // Instead of both: times in seconds.
    (@group seconds, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_store, seconds [
            an_entry_goes_when_its_seconds_are_over,
            the_last_put_says_how_long_an_entry_lives,
            the_keys_of_a_lease_go_in_one_revision,
            a_lease_lives_while_it_is_kept_alive,
        ]);
    };

    // And beyond `plain`: times, the reason of an event, and a history that is forgotten by itself.
    (@group own, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_store, expiry [
            a_get_many_sees_an_entry_up_to_the_moment_it_expires,
            a_scan_sees_an_entry_up_to_the_moment_it_expires,
            a_count_counts_an_entry_up_to_the_moment_it_expires,
            an_entry_says_when_it_expires,
            an_expiry_that_nobody_asks_for_is_a_delete_in_the_history,
            many_entries_that_expire_together_take_a_revision_each,
        ]);
        $crate::conformance!(@tests $world, run_on_world, history [
            below_the_compaction_floor_a_read_fails_with_the_floor,
        ]);
        $crate::conformance!(@tests $world, run_on_store, txn [
            a_put_inside_may_have_a_time_to_live,
            what_has_expired_is_missing_inside,
        ]);
        $crate::conformance!(@tests $world, run_on_store, leases [
            the_keys_of_a_revoked_lease_go_in_one_revision,
            the_keys_of_a_lease_that_runs_out_go_in_one_revision,
            a_lease_that_is_kept_alive_lives,
            the_time_to_live_tells_what_is_left_and_the_keys,
        ]);
        $crate::conformance!(@tests $world, run_on_store, watches [
            an_expiry_is_a_delete_with_its_reason,
        ]);
        $crate::conformance!(@tests $world, run_on_world, sequences [
            any_sequence_of_calls_is_answered_as_the_model_says,
        ]);
    };

    (@group disk, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_world, reopening [
            a_store_that_is_opened_again_has_every_entry_and_goes_on_at_its_revision,
            old_versions_can_be_read_after_it_was_opened_again,
            a_repeat_answers_the_recorded_version_after_it_was_opened_again,
            what_expired_while_it_was_closed_is_gone_and_takes_its_revision,
        ]);
        $crate::conformance!(@tests $world, run_on_world, leases [
            a_lease_has_its_whole_time_again_after_the_store_was_opened_again,
        ]);
        $crate::conformance!(@tests $world, run_on_world, watches [
            what_happened_before_the_store_was_opened_again_is_told,
        ]);
        $crate::conformance!(@tests $world, run_on_world, compaction [
            the_floor_stays_when_the_store_is_opened_again,
        ]);
        $crate::conformance!(@tests $world, run_on_world, sequences [
            any_sequence_of_calls_is_answered_as_the_model_says_across_reopening,
        ]);
    };

    (@group vectors, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_store, vector [
            an_index_is_created_once_and_another_of_its_name_is_refused,
            of_indexes_created_at_the_same_time_one_is,
            indexes_are_listed_by_name_with_their_sizes,
            a_dropped_index_is_gone_with_its_vectors,
            an_index_that_is_not_there_is_not_found,
            a_vector_is_inserted_read_replaced_and_deleted,
            an_insert_of_many_vectors_is_one_revision,
            bad_input_on_vectors_is_refused_and_changes_nothing,
        ]);
        $crate::conformance!(@tests $world, run_on_world, vector [
            the_shortest_and_the_longest_of_everything_is_taken,
            every_vector_call_of_a_closed_store_says_so,
        ]);
        $crate::conformance!(@tests $world, run_on_store, vector_search [
            distances_are_those_of_the_formulas,
            matches_come_nearest_first_and_ties_by_their_ids,
            a_search_answers_k_matches_or_as_many_as_there_are,
            max_distance_is_inclusive,
            id_prefix_looks_only_at_ids_that_begin_so,
            several_queries_are_answered_in_their_order,
            a_search_sees_what_was_acknowledged_before_it,
            inserts_and_searches_at_the_same_time_are_all_answered,
        ]);
        $crate::conformance!(@tests $world, run_on_store, vector_writes [
            calls_on_one_vector_take_effect_in_the_order_of_their_first_poll,
            a_repeated_insert_answers_the_recorded_version,
            other_repeated_vector_writes_answer_what_the_first_answered,
            an_idempotency_key_with_another_vector_write_is_refused,
            repeated_vector_writes_at_the_same_time_are_one_write,
        ]);
        $crate::conformance!(@tests $world, run_on_world, vector_writes [
            parts_of_a_store_have_vector_indexes_of_their_own,
            a_part_whose_prefix_is_not_text_has_no_vector_indexes,
        ]);
    };

    (@group vectors_disk, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_world, vector_writes [
            a_store_that_is_opened_again_has_its_vectors_and_finds_them,
        ]);
    };

    (@group lacking, $world:expr) => {
        $crate::conformance!(@tests $world, run_on_store, lacking [
            what_needs_the_extension_is_refused_and_changes_nothing,
            the_first_call_is_refused_as_well,
            an_entry_has_its_value_and_version_and_nothing_is_made_up,
            conditions_work_without_the_extension,
        ]);
    };

    (@tests $world:expr, $run:ident, $rules:ident [$($rule:ident),+ $(,)?]) => {
        $(
            #[test]
            fn $rule() -> $crate::Check {
                $crate::$run(&$world, $crate::rules::$rules::$rule)
            }
        )+
    };
}

#[cfg(test)]
mod tests {
    /// Every rule that is written has its place in the table.
    #[test]
    fn no_rule_is_forgotten() {
        let table = include_str!("table.rs");
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules");
        let mut rules = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let rule = line.split('(').next().unwrap();
                assert!(
                    table.contains(&format!("{rule},")) || table.contains(&format!("[{rule}]")),
                    "{rule}"
                );
                rules += 1;
            }
        }
        assert!(rules > 130, "{rules}");
    }
}
