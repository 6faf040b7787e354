"""What an engine cannot do, by name: each case says why, and the error that comes in the place of its result.

A case that works all the same, or fails in another way, fails: then the gap is closed, or wrong.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Gap(NamedTuple):
    """`cases` are patterns of tests, each the test's name and `-` with the case's id where it has one.

    `error` is a pattern of the error. `asks` says whether a request may have been made by then.
    """

    reason: str
    error: str
    cases: tuple[str, ...]
    asks: bool = False


GAPS: dict[str, tuple[Gap, ...]] = {
    "spark": (
        Gap(
            "Spark takes no aggregate of both its own and an outer query's columns",
            "AGGREGATE_FUNCTION_MIXED_OUTER_LOCAL_REFERENCES",
            (".*-correlated-request-of-both-sides",),
        ),
    ),
    "registered": (
        Gap(
            "DuckDB has to know the type of a function before its arguments, so that of ai_query is STRING",
            r"returns STRING, but this call returns .*session\.sql",
            (
                "test_all_four_positions_of_the_old_form_are_taken",
                "test_names_of_arguments_have_no_case-.*",
                r"test_a_wrong_argument_is_told_with_its_condition_and_no_call-ai_query\('emb'.*",
                "test_an_option_that_depends_on_a_row_is_refused-.*-failOnError",
                "test_a_constant_may_be_an_expression",
                "test_a_failed_request_is_not_asked_again_for_the_next_row",
                "test_options_that_do_not_change_the_request_do_not_change_the_bill",
                "test_an_embedding_is_an_array_of_floats",
                "test_several_rows_travel_in_one_embeddings_call",
                "test_one_text_the_provider_refuses_fails_alone",
                "test_equal_texts_are_embedded_once",
                "test_dimensions_are_a_parameter_of_an_embedding",
                "test_an_embedding_may_be_an_array_of_doubles",
                "test_a_failing_embeddings_call_ends_the_statement",
                "test_a_struct_is_one_record_of_a_custom_model",
                "test_a_column_is_the_input_of_a_custom_model",
                "test_dates_decimals_and_maps_reach_a_custom_model_as_json",
                "test_what_is_no_image_is_refused-emb-content",
                "test_the_result_stays_a_string_under_fail_on_error_false",
                "test_null_gives_null_under_fail_on_error_false",
                "test_a_null_literal_gives_null_on_every_endpoint-(emb|model|chat-, failOnError).*",
                "test_a_prediction_is_cast_to_the_return_type-(?!.*-STRING-).*",
                "test_a_chat_answer_is_parsed_to_the_return_type",
                "test_an_answer_that_does_not_fit_ends_the_statement",
                "test_several_columns_do_not_fit_a_scalar",
                "test_an_answer_that_does_not_fit_is_a_message_under_fail_on_error_false",
                "test_a_failed_row_gives_a_message_and_the_others_their_result",
                "test_wrong_arguments_end_the_statement_even_under_fail_on_error_false",
                "test_a_refusal_is_an_error",
                "test_an_error_message_holds_no_credential",
                "test_calls_of_several_endpoints_in_one_row",
            ),
            asks=True,  # by an earlier statement of the test, or a call of type STRING beside it
        ),
        Gap(
            "DuckDB checks what is done with a STRING before the call is made",
            "Cannot extract field 'result'|Could not convert string 'k' to INT64",
            ("test_the_fields_of_the_struct_can_be_read_at_once", "test_a_map_is_a_return_type"),
        ),
        Gap(
            "DuckDB itself binds the arguments of a macro",
            r"Macro \"?ai_query\"?\(\) (does not support|has (positional|named) argument)",
            (
                "test_return_type_is_also_taken_in_the_spelling_of_pyspark",
                "test_a_wrong_argument_is_told_with_its_condition_and_no_call-.*-(REQUIRED_PARAMETER_NOT_FOUND|"
                "UNRECOGNIZED_PARAMETER_NAME|DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT|UNEXPECTED_POSITIONAL_ARGUMENT|"
                "WRONG_NUM_ARGS)-.*",
            ),
        ),
        Gap(
            "DuckDB has no schema_of_json; session.sql reads it as a part of the call",
            "name schema_of_json does not exist",
            (
                "test_it_may_be_the_schema_of_a_json_sample",
                "test_return_type_may_be_the_schema_of_a_json_sample",
            ),
        ),
        Gap(
            "DuckDB passes on only the words of an error",
            r"executing the UDF: (ProviderError|ResultError): \[",
            (
                "test_several_columns_do_not_fit_a_string_either",
                "test_a_failed_row_ends_the_statement_by_default",
                "test_nothing_where_an_answer_should_be_is_an_error",
            ),
            asks=True,
        ),
        Gap(
            "DuckDB runs all statements of a text, one by one",
            "DID NOT RAISE",
            ("test_two_statements_in_one_text_are_refused_before_either_runs-.*",),
            asks=True,
        ),
        Gap(
            "DuckDB takes no function with side effects there",
            "window expressions cannot be volatile|the expression has side effects",
            (
                "test_windows_decide_what_is_asked-(partition|order)",
                "test_a_form_of_duckdb_asks_what_its_result_needs-(alias-in-where|alias-in-select|qualify-by|"
                "qualify-before-select)",
                "test_what_is_written_is_asked_once-create-temp-table-as",
                "test_copy_asks_once-.*",
            ),
        ),
        Gap(
            "DuckDB evaluates a function where it stands: before other conditions, joins, sorts and limits",
            r"asks (only )?\d+ requests where \d+ do",
            (
                "test_groups_decide_what_is_asked-(filtered-aggregate|filter-clause-cheap|filtered-by-an-answer|"
                "having-cheap|having-ai-first)",
                "test_sorted_rows_decide_what_is_asked-(limit|offset|expression|two-expressions|call-in-an-expression|"
                "expression-of-an-alias|alias-of-a-column|sorted-by-what-is-not-selected|star|expression-after-where|"
                "after-an-ai-filter|another-call-after-it)",
                "test_a_statement_asks_what_its_result_needs-order-by-limit",
                "test_a_filter_on_the_answer_with_a_limit_stops_soon",
                "test_a_condition_decides_what_is_asked-(ai-or-cheap|not-or|not-or-reversed|not-and|or-in-and|"
                "second-column-after-the-filter)",
                "test_a_join_decides_what_is_asked-(using-where|comma|comma-ai-first|inner-where|on|on-ai-first)",
                "test_a_subquery_asks_what_its_result_needs-(in-and-ai|ai-and-in|not-in|exists|not-exists|"
                "under-a-limit)",
                "test_a_set_operation_asks_each_request_once-union-of-limits",
                "test_a_form_of_duckdb_asks_what_its_result_needs-(distinct-on|qualify-and|parenthesised|semi-join|"
                "limit-by-answers)",
                "test_what_is_written_is_asked_once-(merge-on|merge-conditions|first-few.*)",
            ),
            asks=True,
        ),
    ),
}
"""By engine."""


def gap_of(engine: str, test: str, case: str) -> Gap | None:
    """The gap that a test of an engine falls into, None for none."""
    name = f"{test}-{case}" if case else test
    gaps = GAPS.get(engine, ())
    return next((gap for gap in gaps if any(re.fullmatch(each, name, re.DOTALL) for each in gap.cases)), None)
