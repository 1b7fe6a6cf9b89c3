-- Run once, when the volume of PostgreSQL is empty: a user and a database for each program, which can't read the other's.
\set marketdata `cut -d: -f5 /run/keys/marketdata/pgpass`
\set alerts `cut -d: -f5 /run/keys/alerts/pgpass`
CREATE ROLE marketdata LOGIN PASSWORD :'marketdata' CONNECTION LIMIT 40;
CREATE ROLE alerts LOGIN PASSWORD :'alerts' CONNECTION LIMIT 40;
CREATE DATABASE marketdata OWNER marketdata;
CREATE DATABASE alerts OWNER alerts;
REVOKE CONNECT ON DATABASE marketdata, alerts FROM PUBLIC;
