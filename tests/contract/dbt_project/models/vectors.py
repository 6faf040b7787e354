import aiq.dbt


def model(dbt, session):
    dbt.config(materialized="incremental", unique_key="id")
    rows = "SELECT id, ai_query('embeddings', body) AS v FROM shop.main.reviews"
    if dbt.is_incremental:
        rows += f" WHERE id NOT IN (SELECT id FROM {dbt.this})"
    return aiq.dbt.session(session).sql(rows)
