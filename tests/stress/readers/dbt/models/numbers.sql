select phone_number, requests, last_requested_at, released from {{ source('mirror', 'phone_numbers') }}
