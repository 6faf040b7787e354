{{ config(materialized='incremental', unique_key='id') }}

select id, ai_query('chat', 'Summarise: ' || body, modelParameters => struct_pack(max_tokens := 40)) as summary
from {{ source('shop', 'reviews') }}
{% if is_incremental() %}
where id not in (select id from {{ this }})
{% endif %}
